/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>

#include "base/units.h"

/* The value in tenths, without a ".0". */
static void add_tenths(struct sk_buf *out, int64_t tenths)
{
    sk_buf_printf(out, "%" PRId64, tenths / 10);
    if (tenths % 10 != 0) {
        sk_buf_printf(out, ".%d", (int)(tenths % 10));
    }
}

void sk_format_bytes(struct sk_buf *out, int64_t bytes)
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;
    int64_t scale = 1024;
    int64_t tenths;

    if (bytes < 0) {
        sk_buf_addc(out, '-');
        bytes = bytes == INT64_MIN ? INT64_MAX : -bytes;
    }
    if (bytes < 1024) {
        sk_buf_printf(out, "%" PRId64, bytes);
        return;
    }
    for (;;) {
        tenths = (int64_t)(((__int128)bytes * 10 + scale / 2) / scale);
        if (tenths < 10240 || unit + 2 == sizeof(units)) {
            break;
        }
        scale *= 1024; /* it would print as 1024 of this unit */
        unit++;
    }
    add_tenths(out, tenths);
    sk_buf_addc(out, units[unit]);
}

void sk_format_cpus(struct sk_buf *out, int64_t nano)
{
    char text[SK_NUM_TEXT_MAX];
    double rounded = round((double)nano / 1e6) / 1e3;

    sk_buf_add(out, text, sk_num_text(rounded, text));
}

void sk_format_duration(struct sk_buf *out, int64_t ms)
{
    int64_t minutes;

    if (ms < 0) {
        sk_buf_addc(out, '-');
        ms = ms == INT64_MIN ? INT64_MAX : -ms;
    }
    if (ms < 1000) {
        sk_buf_printf(out, "%" PRId64 "ms", ms);
        return;
    }
    if (ms < 60000 - 50) {
        add_tenths(out, (ms + 50) / 100);
        sk_buf_addc(out, 's');
        return;
    }
    if (ms < 3600000 - 500) {
        int64_t seconds = (ms + 500) / 1000;
        sk_buf_printf(out, "%" PRId64 "m", seconds / 60);
        if (seconds % 60) {
            sk_buf_printf(out, "%" PRId64 "s", seconds % 60);
        }
        return;
    }
    minutes = ms / 60000 + (ms % 60000 >= 30000);
    if (minutes >= 48 * 60) {
        sk_buf_printf(out, "%" PRId64 "d", minutes / (24 * 60));
        minutes = minutes % (24 * 60) / 60 * 60;
        if (minutes == 0) {
            return;
        }
    }
    sk_buf_printf(out, "%" PRId64 "h", minutes / 60);
    if (minutes % 60) {
        sk_buf_printf(out, "%" PRId64 "m", minutes % 60);
    }
}

void sk_format_money(struct sk_buf *out, double amount, struct sk_str currency)
{
    /* by hand: printf's decimal point depends on the locale */
    double cents = round(fabs(amount) * 100);

    if (!isfinite(amount)) {
        sk_buf_adds(out, "unknown");
        return;
    }
    if (cents >= 0x1p53) {
        char text[SK_NUM_TEXT_MAX];
        sk_buf_add(out, text, sk_num_text(amount, text));
    } else {
        int64_t whole = (int64_t)cents;
        sk_buf_printf(out, "%s%" PRId64 ".%02d", amount < 0 && whole ? "-" : "", whole / 100,
                      (int)(whole % 100));
    }
    if (currency.len) {
        sk_buf_addc(out, ' ');
        sk_buf_addstr(out, currency);
    }
}
