/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_YAML_H
#define SK_BASE_YAML_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/tree.h"

/*
 * YAML (the 1.2 core schema for plain scalars, on libyaml's 1.1 syntax) into the tree of
 * base/tree.h.
 *
 * Anchors and aliases are expanded (bounded: limits->aliases_max, nodes_max); an aliased value has
 * the position of its anchor. Merge keys `<<` (one map or a list of maps) are applied as Compose
 * files use them: own keys win, earlier maps of a list win. Rejected, with "name:line:col: ":
 * duplicate keys, keys that are not scalars, tags other than the core ones, several documents,
 * recursion, invalid UTF-8. Plain `yes`, `no`, `on`, `off`, 22:22 and 010 are strings or numbers as
 * in YAML 1.2, never booleans or sexagesimals. An empty file is SK_NULL at 1:1. `bytes` may be
 * freed afterwards.
 */
int sk_yaml_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err);

/* JSON when the name ends in ".json", or when the first byte that is not space is '{' or '[' and
 * the whole parses as JSON; else YAML. */
int sk_tree_read(struct sk_arena *arena, const char *name, struct sk_str bytes,
                 const struct sk_limits *limits, const struct sk_node **ret_root,
                 struct sk_err *err);

#endif
