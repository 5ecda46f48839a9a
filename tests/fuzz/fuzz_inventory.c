/* SPDX-License-Identifier: Apache-2.0 */
/* The inventory's reader takes any bytes; what it accepts is written as JSON and as YAML that read
 * back to the same inventory. */
#include "base/json.h"
#include "model/inventory.h"

#define NODES_MAX 1000 /* `count` makes many of a few bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write(const struct inventory *inv, struct sk_buf *out)
{
    struct sk_jw w;
    sk_jw_init(&w, out);
    inventory_write_json(inv, &w);
}

static void check_same(const char *name, const struct sk_buf *text, const struct sk_buf *json)
{
    struct sk_buf again = SK_BUF_INIT;
    struct inventory *inv;

    SK_ASSERT(inventory_read(name, sk_buf_str(text), &inv, NULL) == 0);
    write(inv, &again);
    SK_ASSERT(sk_str_eq(sk_buf_str(&again), sk_buf_str(json)));
    sk_buf_release(&again);
    inventory_free(inv);
}

static void check(const struct inventory *inv)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_buf yaml = SK_BUF_INIT;

    for (size_t i = 0; i < inv->nnodes; i++) {
        SK_ASSERT(inv->nodes[i].cpus_nano > 0 && inv->nodes[i].memory_bytes > 0);
        SK_ASSERT(inventory_node(inv, inv->nodes[i].name) == (int64_t)i);
        SK_ASSERT(inv->nodes[i].site < inv->nsites);
    }
    write(inv, &json);
    inventory_write_yaml(inv, &yaml);
    check_same("a.json", &json, &json);
    check_same("a.yaml", &yaml, &json);
    sk_buf_release(&json);
    sk_buf_release(&yaml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_str bytes = {(const char *)data, size};
    struct inventory *inv;
    struct sk_err err = {0};

    if (inventory_read("a", bytes, &inv, &err) == 0) {
        if (inv->nnodes <= NODES_MAX) {
            check(inv);
        }
        inventory_free(inv);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT ||
                  err.code == SK_ERR_UNSUPPORTED);
        SK_ASSERT(err.msg[0] == 'a' && err.msg[1] == ':');
    }
    return 0;
}
