/* SPDX-License-Identifier: Apache-2.0 */
/* The plan's reader takes any bytes; what it accepts is written as JSON that reads back to the
 * same, and its id can be made. */
#include <string.h>

#include "base/json.h"
#include "model/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read(struct sk_str bytes, struct plan **ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    int code = sk_json_read(arena, "a", bytes, NULL, &root, err);

    if (code == 0) {
        code = plan_from_tree("a", root, ret, err);
    }
    sk_arena_free(arena);
    return code;
}

static void write(const struct plan *plan, struct sk_buf *out)
{
    struct sk_jw w;
    sk_jw_init(&w, out);
    plan_write_json(plan, &w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_buf once = SK_BUF_INIT;
    struct sk_buf twice = SK_BUF_INIT;
    struct plan *plan;
    struct plan *again;
    struct sk_err err = {0};

    if (read((struct sk_str){(const char *)data, size}, &plan, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT);
        SK_ASSERT(err.msg[0] == 'a' && err.msg[1] == ':');
        return 0;
    }
    plan_seal(plan);
    write(plan, &once);
    SK_ASSERT(read(sk_buf_str(&once), &again, NULL) == 0);
    SK_ASSERT(plan_id_matches(again));
    write(again, &twice);
    SK_ASSERT(strcmp(once.ptr, twice.ptr) == 0);
    sk_buf_release(&once);
    sk_buf_release(&twice);
    plan_free(plan);
    plan_free(again);
    return 0;
}
