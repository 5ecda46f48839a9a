/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Set once at start, before threads are made. */
static sk_log_sink_fn *log_sink;
static void *log_sink_ctx;
static enum sk_log_level log_level_max = SK_LOG_INFO;

#define LINE_MAX_BYTES 1024

void sk_log_set_sink(sk_log_sink_fn *sink, void *ctx)
{
    log_sink = sink;
    log_sink_ctx = ctx;
}

void sk_log_set_level(enum sk_log_level max_level)
{
    log_level_max = max_level;
}

bool sk_log_on(enum sk_log_level level)
{
    return log_sink != NULL && level <= log_level_max;
}

static void escape(char *line)
{
    for (; *line; line++) {
        unsigned char c = (unsigned char)*line;
        if (c < 0x20 || c == 0x7f) {
            *line = '?';
        }
    }
}

void sk_log(enum sk_log_level level, const char *event, const char *fields_fmt, ...)
{
    char line[LINE_MAX_BYTES];
    int n;

    if (!sk_log_on(level)) {
        return;
    }
    n = snprintf(line, sizeof(line), "event=\"%s\"", event);
    if (n < 0 || (size_t)n >= sizeof(line)) {
        return;
    }
    if (fields_fmt && *fields_fmt) {
        va_list ap;
        line[n++] = ' ';
        va_start(ap, fields_fmt);
        (void)vsnprintf(line + n, sizeof(line) - (size_t)n, fields_fmt, ap);
        va_end(ap);
    }
    escape(line);
    log_sink(level, line, log_sink_ctx);
}

void sk_log_err(enum sk_log_level level, const char *event, const struct sk_err *err)
{
    sk_log(level, event, "code=%s error=\"%s\"%s%s%s", sk_code_name(err->code), err->msg,
           err->fix[0] ? " fix=\"" : "", err->fix, err->fix[0] ? "\"" : "");
}
