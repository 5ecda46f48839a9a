/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_LOG_H
#define SK_BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Logging: one logfmt line a call, with a "<N>" priority in front where journald reads it. The text
 * goes to a sink that src/sys installs (standard error by default in programs; nothing in the pure
 * layers, which never log). Values are escaped; secrets are never passed. Thread safe when the sink
 * is.
 *
 *     sk_log(SK_LOG_INFO, "node joined", "node=%s site=%s", name, site);
 */
enum sk_log_level {
    SK_LOG_ERROR = 3,
    SK_LOG_WARN = 4,
    SK_LOG_NOTICE = 5,
    SK_LOG_INFO = 6,
    SK_LOG_DEBUG = 7
};

typedef void sk_log_sink_fn(enum sk_log_level level, const char *line, void *ctx);
void sk_log_set_sink(sk_log_sink_fn *sink, void *ctx);
void sk_log_set_level(enum sk_log_level max_level);
bool sk_log_on(enum sk_log_level level);
void sk_log(enum sk_log_level level, const char *event, const char *fields_fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sk_log_err(enum sk_log_level level, const char *event, const struct sk_err *err);

#endif
