/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct code_row {
    int code;
    const char *name;
    int http;
    int exit_status;
};

static const struct code_row code_rows[] = {
#define X(code, name, http, exit_status) {code, name, http, exit_status},
    SK_ERR_TABLE(X)
#undef X
};

static const struct code_row *find_row(int code)
{
    for (size_t i = 0; i < sizeof(code_rows) / sizeof(code_rows[0]); i++) {
        if (code_rows[i].code == code) {
            return &code_rows[i];
        }
    }
    return NULL;
}

/* Messages may quote bytes from outside: control bytes must not reach a terminal or a log. */
static void escape_controls(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            *text = c == '\n' || c == '\t' ? ' ' : '?';
        }
    }
}

static void format(char *out, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void format(char *out, size_t size, const char *fmt, va_list ap)
{
    if (vsnprintf(out, size, fmt, ap) < 0) {
        out[0] = '\0';
    }
    escape_controls(out);
}

int sk_err_set(struct sk_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        err->code = code;
        err->errnum = 0;
        err->fix[0] = '\0';
        va_start(ap, fmt);
        format(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
    }
    return code;
}

int sk_err_errno(struct sk_err *err, int errnum, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        size_t len;
        err->code = SK_ERR_IO;
        err->errnum = errnum;
        err->fix[0] = '\0';
        va_start(ap, fmt);
        format(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        len = strlen(err->msg);
        if (strerrordesc_np(errnum)) {
            (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerrordesc_np(errnum));
        } else {
            (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": error %d", errnum);
        }
    }
    return SK_ERR_IO;
}

int sk_err_wrap(struct sk_err *err, const char *fmt, ...)
{
    char old[SK_ERR_MSG_MAX];
    size_t len;
    va_list ap;

    if (!err) {
        return SK_ERR_INTERNAL;
    }
    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    format(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    (void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old);
    return err->code;
}

int sk_err_fix(struct sk_err *err, const char *fmt, ...)
{
    va_list ap;

    if (!err) {
        return SK_ERR_INTERNAL;
    }
    va_start(ap, fmt);
    format(err->fix, sizeof(err->fix), fmt, ap);
    va_end(ap);
    return err->code;
}

void sk_err_clear(struct sk_err *err)
{
    if (err) {
        memset(err, 0, sizeof(*err));
    }
}

const char *sk_code_name(int code)
{
    const struct code_row *row = find_row(code);
    return row ? row->name : "internal";
}

int sk_code_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof(code_rows) / sizeof(code_rows[0]); i++) {
        if (strcmp(code_rows[i].name, name) == 0) {
            return code_rows[i].code;
        }
    }
    return SK_ERR_INTERNAL;
}

int sk_code_http(int code)
{
    const struct code_row *row = find_row(code);
    return row ? row->http : 500;
}

int sk_code_exit(int code)
{
    const struct code_row *row = find_row(code);
    if (code == SK_OK) {
        return 0;
    }
    return row ? row->exit_status : 1;
}

_Noreturn void sk_assert_fail(const char *expr, const char *file, int line, const char *func)
{
    (void)fprintf(stderr, "skerry: bug: assertion '%s' failed at %s:%d in %s\n", expr, file, line,
                  func);
    abort();
}
