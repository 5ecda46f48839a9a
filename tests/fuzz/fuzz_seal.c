/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a sealed secret, as a share and as a recovery code. What is accepted has one meaning:
 * written again and read again it is the same. */
#include "net/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_share(struct sk_str text)
{
    struct seal_share share, again;
    struct sk_buf out = SK_BUF_INIT;
    struct sk_err err = {0};
    uint8_t key[SEAL_KEY_BYTES];

    if (seal_share_read(text, &share, &err) < 0) {
        SK_ASSERT(err.code < 0 && err.msg[0]);
        return;
    }
    seal_share_write(&share, &out);
    SK_ASSERT(seal_share_read(sk_buf_str(&out), &again, NULL) == 0);
    SK_ASSERT(memcmp(&share, &again, sizeof(share)) == 0);
    SK_ASSERT(seal_combine(&share, 1, key, NULL) == SK_ERR_UNAVAILABLE);
    sk_buf_release(&out);
}

static void try_code(struct sk_str text)
{
    char printed[SEAL_CODE_TEXT_SIZE];
    struct seal_code code, again;
    struct sk_err err = {0};

    if (seal_code_read(text, &code, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_INPUT && err.fix[0]);
        return;
    }
    seal_code_print(&code, printed);
    SK_ASSERT(seal_code_read(sk_str(printed), &again, NULL) == 0);
    SK_ASSERT(memcmp(&code, &again, sizeof(code)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[SEAL_KEY_BYTES] = {1};
    static const struct seal_code code = {{1}};
    struct sk_str text = {(const char *)data, size};
    struct sk_buf out = SK_BUF_INIT;
    struct sk_err err = {0};

    /* nothing that was not sealed under the key opens, but the corpus' one that was */
    if (seal_get(key, "sea", "ca.key", text, &out, &err) == 0) {
        SK_ASSERT(sk_str_is(sk_buf_str(&out), "secret"));
    } else {
        SK_ASSERT(err.code < 0 && out.len == 0);
    }
    try_share(text);
    try_code(text);
    (void)seal_open(&code, text, &out, NULL);
    seal_wipe(&out);
    return 0;
}
