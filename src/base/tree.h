/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_TREE_H
#define SK_BASE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/*
 * The one tree into which JSON and YAML are read, with the position of every value and key.
 *
 * A tree is immutable once read and belongs to the arena that it was read into. Scalars keep their
 * text; they get a type from whoever reads them (the model's validator), so 22:22 or 010 stays what
 * was written. `kind` says how the scalar was written under the YAML 1.2 core schema / JSON: a
 * quoted scalar is always SK_STRING. Keys of a map are unique (the readers reject duplicates);
 * order is the order of the file.
 */
enum sk_kind { SK_NULL, SK_BOOL, SK_NUMBER, SK_STRING, SK_SEQ, SK_MAP };

struct sk_member;

struct sk_node {
    uint8_t kind;   /* enum sk_kind */
    bool quoted;    /* a scalar written in quotes or as a block scalar */
    uint32_t count; /* of items or members */
    uint32_t line;  /* 1-based */
    uint32_t col;   /* 1-based, in bytes */
    union {
        struct sk_str text;              /* scalars; NUL-terminated; of SK_BOOL "true" or "false" */
        const struct sk_node *items;     /* SK_SEQ */
        const struct sk_member *members; /* SK_MAP */
    } u;
};

struct sk_member {
    struct sk_str key; /* NUL-terminated */
    uint32_t line;     /* of the key */
    uint32_t col;
    struct sk_node value;
};

/* What the readers accept at most. Zero means the default in brackets. */
struct sk_limits {
    size_t bytes_max;     /* input size [64 MiB] */
    uint32_t depth_max;   /* nesting [64]; at most 96 */
    size_t nodes_max;     /* values in all, after aliases are expanded [8 M] */
    uint32_t aliases_max; /* YAML aliases used [1,000] */
};

const char *sk_kind_name(enum sk_kind kind); /* "map", "list", "string"... for messages */
bool sk_node_is_scalar(const struct sk_node *node);
/* The member's value, or NULL. Linear up to 16 members; larger maps are looked up by binary search.
 */
const struct sk_node *sk_map_get(const struct sk_node *map, struct sk_str key);
const struct sk_member *sk_map_member(const struct sk_node *map, struct sk_str key);
/* Convenience for records and answers whose shape was already checked, or that are tolerant:
 * the value, or the default when it is absent or of another kind. */
struct sk_str sk_map_str(const struct sk_node *map, const char *key, struct sk_str dflt);
int64_t sk_map_int(const struct sk_node *map, const char *key, int64_t dflt);
double sk_map_num(const struct sk_node *map, const char *key, double dflt);
bool sk_map_bool(const struct sk_node *map, const char *key, bool dflt);
const struct sk_node *sk_map_seq(const struct sk_node *map, const char *key); /* NULL if no list */

/* Equality of value (numbers by text), whatever the order of members. */
bool sk_node_eq(const struct sk_node *a, const struct sk_node *b);

#endif
