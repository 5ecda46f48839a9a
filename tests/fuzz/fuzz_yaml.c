/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML reader takes any bytes; what it accepts is also JSON with the same meaning, and every
 * position lies inside the input. */
#include "base/json.h"
#include "base/yaml.h"

#define NODES_MAX 20000 /* aliases can stand for far more than fuzzing has time for */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_places(const struct sk_node *node, size_t size)
{
    SK_ASSERT(node->line >= 1 && node->line <= size + 1);
    SK_ASSERT(node->col >= 1 && node->col <= size + 1);
    for (uint32_t i = 0; node->kind == SK_SEQ && i < node->count; i++) {
        check_places(&node->u.items[i], size);
    }
    for (uint32_t i = 0; node->kind == SK_MAP && i < node->count; i++) {
        const struct sk_member *member = &node->u.members[i];
        SK_ASSERT(member->line >= 1 && member->line <= size + 1);
        SK_ASSERT(member->col >= 1 && member->col <= size + 1);
        SK_ASSERT(sk_map_member(node, member->key) == member);
        check_places(&member->value, size);
    }
}

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
    if (sk_json_canonical(root, &canonical, err) == 0) {
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
    struct sk_limits limits = {.nodes_max = NODES_MAX};
    struct sk_err err = {0};
    const struct sk_node *root;

    if (sk_yaml_read(arena, "a", (struct sk_str){(const char *)data, size}, &limits, &root, &err) ==
        0) {
        check_places(root, size);
        check(arena, root, &err);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT ||
                  err.code == SK_ERR_UNSUPPORTED);
        SK_ASSERT(err.msg[0] != '\0');
    }
    sk_arena_free(arena);
    return 0;
}
