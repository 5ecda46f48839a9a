/* SPDX-License-Identifier: Apache-2.0 */
/* Any payload as what an agent is told: an assignment (sorted, each once, good or refused with a
 * reason, and found again), an answer to its asks for leases. */
#include <stdlib.h>
#include <string.h>

#include "agent/assign.h"
#include "agent/internal.h"
#include "net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_assign(const struct sk_node *tree)
{
    struct assign_set *set = NULL;
    struct agent_desired want;
    struct sk_err err = {0};

    if (assign_parse(tree, &set, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_PROTOCOL && err.msg[0] != '\0');
        return;
    }
    SK_ASSERT(set->nprefetch <= ASSIGN_PREFETCH_MAX && set->npeers <= ASSIGN_PEERS_MAX);
    for (size_t i = 0; i < set->count; i++) {
        const struct assignment *a = &set->items[i];
        SK_ASSERT(i == 0 || strcmp(set->items[i - 1].id, a->id) < 0);
        SK_ASSERT((a->refusal[0] == '\0') == (a->service != NULL));
        SK_ASSERT(assign_find(set, a->id) == a);
        assign_desired(a, &want);
    }
    assign_free(set);
}

static void check_leased(const struct sk_node *tree)
{
    const struct sk_node *list = NULL;
    struct sk_err err = {0};

    if (lease_frame_check(tree, "0123456789abcdef0123456789abcdef", &list, &err) < 0) {
        SK_ASSERT(err.code == SK_ERR_PROTOCOL && err.msg[0] != '\0');
        return;
    }
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        char id[AGENT_ID_MAX];
        struct agent_event e;
        if (lease_answer_read(tree, &list->u.items[i], id, &e)) {
            SK_ASSERT(e.kind == AGENT_LEASED && strlen(id) < AGENT_ID_MAX);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    struct sk_err err = {0};

    if (net_frame_parse((struct sk_str){(const char *)data, size}, arena, &frame, &err) == 0) {
        check_assign(frame.tree);
        check_leased(frame.tree);
    }
    sk_arena_free(arena);
    return 0;
}
