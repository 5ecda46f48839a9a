/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_ERR_H
#define SK_BASE_ERR_H

/*
 * Errors.
 *
 * A function that can fail returns 0, or a negative code of enum sk_code, and takes a
 * `struct sk_err *` as its last parameter. The error object is a stack value: no allocation,
 * nothing to free. It is untouched on success. NULL is allowed wherever a `struct sk_err *` is
 * taken.
 *
 * Calling sequence:
 *
 *     struct sk_err err = {0};
 *     if (thing_load(&thing, path, &err) < 0)
 *         return sk_err_wrap(&err, "load node '%s'", name);   // "load node 'a3': open '/x': ..."
 *
 * Message law: lower case, subject in single quotes, no full stop. A message about a file starts
 * with "file:line:col: ". `fix` says what to do and is printed on its own line ("fix: ...").
 * Libraries never log. Whoever stops an error prints or logs it, once.
 */

/* code, name in JSON, HTTP status, exit status of the command line */
#define SK_ERR_TABLE(X)                                                                        \
    X(SK_ERR_INTERNAL, "internal", 500, 1)                                                     \
    X(SK_ERR_USAGE, "usage", 400, 2)             /* wrong flags or arguments */                \
    X(SK_ERR_INPUT, "bad_input", 400, 2)         /* a file, body or value that is not valid */ \
    X(SK_ERR_UNSUPPORTED, "unsupported", 400, 2) /* known, and refused until it is executed */ \
    X(SK_ERR_LIMIT, "limit", 413, 2)             /* larger than a stated bound */              \
    X(SK_ERR_POLICY, "policy", 422, 3)           /* a declared policy cannot be met */         \
    X(SK_ERR_UNAUTHENTICATED, "unauthenticated", 401, 1)                                       \
    X(SK_ERR_DENIED, "denied", 403, 1)                                                         \
    X(SK_ERR_NOT_FOUND, "not_found", 404, 1)                                                   \
    X(SK_ERR_CONFLICT, "conflict", 409, 1)       /* the state moved, or the name is taken */   \
    X(SK_ERR_UNAVAILABLE, "unavailable", 503, 1) /* try again later; nothing was changed */    \
    X(SK_ERR_TIMEOUT, "timeout", 504, 1)                                                       \
    X(SK_ERR_IO, "io", 500, 1)             /* the operating system said no; errnum is set */   \
    X(SK_ERR_PROTOCOL, "protocol", 400, 1) /* a peer broke the protocol */                     \
    X(SK_ERR_CORRUPT, "corrupt", 500, 1)   /* stored bytes are not what was written */         \
    X(SK_ERR_ENGINE, "engine", 502, 1)     /* a child program (crun, HAProxy...) failed */     \
    X(SK_ERR_CANCELLED, "cancelled", 499, 1)

enum sk_code {
    SK_OK = 0,
    SK_ERR__FIRST = -1000,
#define X(code, name, http, exit) code,
    SK_ERR_TABLE(X)
#undef X
        SK_ERR__LAST
};

#define SK_ERR_MSG_MAX 512
#define SK_ERR_FIX_MAX 256

struct sk_err {
    int code;                 /* 0 or an enum sk_code */
    int errnum;               /* errno of the failing call, 0 if none */
    char msg[SK_ERR_MSG_MAX]; /* what, and where; truncated, never overrun; control bytes escaped */
    char fix[SK_ERR_FIX_MAX]; /* what to do, "" if there is nothing better than the message */
};

/* Each of these returns `code` (or the code already in err), so that `return sk_err_set(...)` reads
 * well. sk_err_wrap() and sk_err_fix() know no code when err is NULL and return SK_ERR_INTERNAL: a
 * function whose callers may pass NULL keeps the code by itself. */
int sk_err_set(struct sk_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Sets SK_ERR_IO with errnum and appends ": " strerror(errnum). */
int sk_err_errno(struct sk_err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Prefixes the message with outer context: "<fmt>: <old message>". Keeps code, errnum and fix. */
int sk_err_wrap(struct sk_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds the remedy. Keeps the code. */
int sk_err_fix(struct sk_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sk_err_clear(struct sk_err *err);

const char *sk_code_name(int code);      /* "bad_input"; "internal" for an unknown code */
int sk_code_from_name(const char *name); /* SK_ERR_INTERNAL for an unknown name */
int sk_code_http(int code);              /* 500 for an unknown code */
int sk_code_exit(int code);              /* 0 for SK_OK, 1 for an unknown code */

/* For bugs only, on in every build. The expression must have no side effects. */
#define SK_ASSERT(expr)                                          \
    do {                                                         \
        if (!(expr)) {                                           \
            sk_assert_fail(#expr, __FILE__, __LINE__, __func__); \
        }                                                        \
    } while (0)
_Noreturn void sk_assert_fail(const char *expr, const char *file, int line, const char *func);

#endif
