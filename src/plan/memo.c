/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/memo.h"

#include <stdlib.h>

#include "base/mem.h"
#include "plan/rules.h"

#define MEMO_BYTES_MAX (8u * 1024u * 1024u)
#define SLOTS_FIRST 1024u

struct entry {
    struct entry *next; /* of the same slot */
    uint64_t hash;
    uint32_t svc;
    struct pl_worth worth; /* nodes: right behind */
};

struct pl_memo {
    const struct pl_world *w;
    struct sk_arena *arena;
    struct entry **slots; /* a power of two */
    size_t nslots, count, bytes;
};

struct pl_memo *pl_memo_new(const struct pl_world *w)
{
    struct pl_memo *m = sk_xcalloc(1, sizeof(*m));
    m->w = w;
    m->arena = sk_arena_new();
    m->nslots = SLOTS_FIRST;
    m->slots = sk_xcalloc(m->nslots, sizeof(struct entry *));
    return m;
}

void pl_memo_free(struct pl_memo *m)
{
    if (m) {
        sk_arena_free(m->arena);
        free(m->slots);
        free(m);
    }
}

static uint64_t hash_of(const struct pl_svc *s, const uint32_t *nodes)
{
    uint64_t h = s->index + UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t r = 0; r < s->replicas; r++) {
        h = (h ^ nodes[r]) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    return h;
}

static void grow(struct pl_memo *m)
{
    size_t nslots = 2 * m->nslots;
    struct entry **slots = sk_xcalloc(nslots, sizeof(struct entry *));
    for (size_t i = 0; i < m->nslots; i++) {
        for (struct entry *e = m->slots[i]; e;) {
            struct entry *next = e->next;
            e->next = slots[e->hash & (nslots - 1)];
            slots[e->hash & (nslots - 1)] = e;
            e = next;
        }
    }
    free(m->slots);
    m->slots = slots;
    m->nslots = nslots;
}

static struct pl_worth worth_of(const struct pl_world *w, const struct pl_svc *s,
                                const uint32_t *nodes)
{
    struct pl_worth v = {.hard = pl_rules_hard(w, s, nodes) == PL_RULE_OK};
    uint32_t moves;
    bool known = true;
    if (v.hard) {
        v.cost = pl_cost_hour(w, s, nodes, s->replicas, &known) + pl_move_hour(w, s, nodes, &moves);
        v.goals = pl_rules_goals(w, s, nodes);
    }
    return v;
}

struct pl_worth pl_memo_worth(struct pl_memo *m, const struct pl_svc *s, const uint32_t *nodes)
{
    size_t bytes = s->replicas * sizeof(*nodes);
    uint64_t hash = hash_of(s, nodes);
    struct entry *e = m->slots[hash & (m->nslots - 1)];
    for (; e; e = e->next) {
        if (e->hash == hash && e->svc == s->index && memcmp(e->worth.nodes, nodes, bytes) == 0) {
            return e->worth;
        }
    }
    struct pl_worth v = worth_of(m->w, s, nodes);
    if (m->bytes + sizeof(*e) + bytes > MEMO_BYTES_MAX) {
        return v;
    }
    if (m->count == 2 * m->nslots) {
        grow(m);
    }
    e = sk_arena_alloc(m->arena, sizeof(*e) + bytes);
    uint32_t *copy = (uint32_t *)(e + 1);
    memcpy(copy, nodes, bytes);
    v.nodes = copy;
    *e = (struct entry){m->slots[hash & (m->nslots - 1)], hash, s->index, v};
    m->slots[hash & (m->nslots - 1)] = e;
    m->count++;
    m->bytes += sizeof(*e) + bytes;
    return v;
}
