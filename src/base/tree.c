/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tree.h"

#include "base/err.h"
#include "base/scalar.h"
#include "base/treebuild.h"

const char *sk_kind_name(enum sk_kind kind)
{
    switch (kind) {
    case SK_NULL:
        return "nothing";
    case SK_BOOL:
        return "true or false";
    case SK_NUMBER:
        return "number";
    case SK_STRING:
        return "string";
    case SK_SEQ:
        return "list";
    case SK_MAP:
        return "map";
    }
    return "unknown";
}

bool sk_node_is_scalar(const struct sk_node *node)
{
    return node->kind != SK_SEQ && node->kind != SK_MAP;
}

const struct sk_member *sk_map_member(const struct sk_node *map, struct sk_str key)
{
    const uint32_t *order;
    size_t low = 0;
    size_t high;

    if (!map || map->kind != SK_MAP) {
        return NULL;
    }
    if (map->count <= SK_MAP_LINEAR_MAX) {
        for (uint32_t i = 0; i < map->count; i++) {
            if (sk_str_eq(map->u.members[i].key, key)) {
                return &map->u.members[i];
            }
        }
        return NULL;
    }
    order = sk_map_order(map);
    high = map->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct sk_member *member = &map->u.members[order[mid]];
        int c = sk_str_cmp(member->key, key);
        if (c == 0) {
            return member;
        }
        if (c < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

const struct sk_node *sk_map_get(const struct sk_node *map, struct sk_str key)
{
    const struct sk_member *member = sk_map_member(map, key);
    return member ? &member->value : NULL;
}

struct sk_str sk_map_str(const struct sk_node *map, const char *key, struct sk_str dflt)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node && node->kind == SK_STRING ? node->u.text : dflt;
}

int64_t sk_map_int(const struct sk_node *map, const char *key, int64_t dflt)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    int64_t value;
    return node && node->kind == SK_NUMBER && sk_core_int(node->u.text, &value) ? value : dflt;
}

double sk_map_num(const struct sk_node *map, const char *key, double dflt)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    double value;
    return node && node->kind == SK_NUMBER && sk_core_num(node->u.text, &value) ? value : dflt;
}

bool sk_map_bool(const struct sk_node *map, const char *key, bool dflt)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node && node->kind == SK_BOOL ? sk_str_is(node->u.text, "true") : dflt;
}

const struct sk_node *sk_map_seq(const struct sk_node *map, const char *key)
{
    const struct sk_node *node = sk_map_get(map, sk_str(key));
    return node && node->kind == SK_SEQ ? node : NULL;
}

/* Recursion is bounded by the readers' depth_max. */
bool sk_node_eq(const struct sk_node *a, const struct sk_node *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch ((enum sk_kind)a->kind) {
    case SK_NULL:
        return true;
    case SK_BOOL:
    case SK_NUMBER:
    case SK_STRING:
        return sk_str_eq(a->u.text, b->u.text);
    case SK_SEQ:
        if (a->count != b->count) {
            return false;
        }
        for (uint32_t i = 0; i < a->count; i++) {
            if (!sk_node_eq(&a->u.items[i], &b->u.items[i])) {
                return false;
            }
        }
        return true;
    case SK_MAP:
        if (a->count != b->count) {
            return false;
        }
        for (uint32_t i = 0; i < a->count; i++) {
            const struct sk_node *other = sk_map_get(b, a->u.members[i].key);
            if (!other || !sk_node_eq(&a->u.members[i].value, other)) {
                return false;
            }
        }
        return true;
    }
    return false;
}
