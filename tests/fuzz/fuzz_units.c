/* SPDX-License-Identifier: Apache-2.0 */
/* The unit parsers take any bytes; a number that is accepted prints and reads back as itself. */
#include "base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_str s = {(const char *)data, size};
    char text[SK_NUM_TEXT_MAX];
    int64_t i;
    double n;
    double back;

    SK_ASSERT(sk_parse_cpus(s, &i, NULL) < 0 || i >= 0);
    SK_ASSERT(sk_parse_bytes(s, &i, NULL) < 0 || i >= 0);
    SK_ASSERT(sk_parse_duration(s, &i, NULL) < 0 || i >= 0);
    SK_ASSERT(sk_parse_percent(s, &n, NULL) < 0 || (n >= 0 && n <= 1));
    SK_ASSERT(sk_parse_int(s, -1000, 1000, &i, NULL) < 0 || (i >= -1000 && i <= 1000));
    if (sk_parse_num(s, &n, NULL) == 0) {
        size_t len = sk_num_text(n, text);
        SK_ASSERT(len < SK_NUM_TEXT_MAX && text[len] == '\0');
        SK_ASSERT(sk_parse_num((struct sk_str){text, len}, &back, NULL) == 0 && back == n);
    }
    return 0;
}
