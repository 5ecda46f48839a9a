/* SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

const char *sk_version(void)
{
    return SKERRY_VERSION;
}

int sk_protocol_min(void)
{
    return 1;
}

int sk_protocol_max(void)
{
    return 1;
}

struct sk_str sk_version_mark(struct sk_str map)
{
    (void)map;
    return SK_STR("");
}

struct sk_str sk_version_greeting(int protocol)
{
    (void)protocol;
    return SK_STR("");
}

bool sk_version_knows(struct sk_str frame_type)
{
    (void)frame_type;
    return false;
}
