/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

/*
 * The next version, as far as the one of today has to live beside it: linked instead of
 * src/base/version.c into the programs of this folder (build/tests/next/skerry).
 * SKERRY_NEXT_PROTOCOL_MIN=2 makes it refuse protocol 1, as a version after the next may.
 */
#define MEMBER "next_version"

const char *sk_version(void)
{
    return "0.2.0-next";
}

int sk_protocol_min(void)
{
    const char *text = getenv("SKERRY_NEXT_PROTOCOL_MIN");
    return text != NULL && strcmp(text, "2") == 0 ? 2 : 1;
}

int sk_protocol_max(void)
{
    return 2;
}

struct sk_str sk_version_mark(struct sk_str map)
{
    if (memmem(map.ptr, map.len, "\"" MEMBER "\":", sizeof(MEMBER) + 2) != NULL) {
        return SK_STR("");
    }
    return SK_STR(",\"" MEMBER "\":{\"by\":\"0.2.0-next\",\"list\":[1,{\"a\":null}]}");
}

struct sk_str sk_version_greeting(int protocol)
{
    return protocol >= 2 ? SK_STR("{\"v\":1,\"type\":\"greeting\",\"text\":\"hello\"}")
                         : SK_STR("");
}

bool sk_version_knows(struct sk_str frame_type)
{
    return sk_str_is(frame_type, "greeting");
}
