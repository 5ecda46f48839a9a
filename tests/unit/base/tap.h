/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BASE_TAP_H
#define TESTS_UNIT_BASE_TAP_H

/* cmocka and what must stand before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

#define assert_str(s, cstr)                                \
    do {                                                   \
        struct sk_str tap_s = (s);                         \
        assert_int_equal(tap_s.len, strlen(cstr));         \
        assert_memory_equal(tap_s.ptr, (cstr), tap_s.len); \
    } while (0)

#endif
