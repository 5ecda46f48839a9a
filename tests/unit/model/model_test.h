/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_TEST_H
#define SK_MODEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/yaml.h"

/* A document that must be refused: code, the whole message, and the fix where it is not NULL. */
struct refusal {
    const char *text;
    int code;
    const char *msg;
    const char *fix;
};

/* Compares and goes on, so that one run shows all that differ; the caller asserts the sum is 0. */
static inline int differs(const char *got, const char *want)
{
    if (strcmp(got, want) == 0) {
        return 0;
    }
    print_error("got:  %s\nwant: %s\n", got, want);
    return 1;
}

#endif
