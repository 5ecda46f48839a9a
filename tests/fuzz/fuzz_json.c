/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader takes any bytes; what it accepts comes back the same through the writer, and its
 * canonical form is its own canonical form. */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct sk_arena *arena, const struct sk_node *root, struct sk_err *err)
{
    struct sk_buf written = SK_BUF_INIT;
    struct sk_buf canonical = SK_BUF_INIT;
    struct sk_buf again = SK_BUF_INIT;
    const struct sk_node *back;
    struct sk_jw w;

    sk_jw_init(&w, &written);
    sk_jw_node(&w, root);
    SK_ASSERT(sk_json_read(arena, "b", sk_buf_str(&written), NULL, &back, err) == 0);
    SK_ASSERT(sk_node_eq(root, back));
    if (sk_json_canonical(root, &canonical, err) == 0) {
        SK_ASSERT(sk_json_read(arena, "c", sk_buf_str(&canonical), NULL, &back, err) == 0);
        SK_ASSERT(sk_json_canonical(back, &again, err) == 0);
        SK_ASSERT(sk_str_eq(sk_buf_str(&canonical), sk_buf_str(&again)));
    }
    sk_buf_release(&written);
    sk_buf_release(&canonical);
    sk_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_err err = {0};
    const struct sk_node *root;

    if (sk_json_read(arena, "a", (struct sk_str){(const char *)data, size}, NULL, &root, &err) ==
        0) {
        check(arena, root, &err);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT);
        SK_ASSERT(err.msg[0] != '\0');
    }
    sk_arena_free(arena);
    return 0;
}
