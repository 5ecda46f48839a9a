/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "model/reader.h"

/* A typo is at most this far from what was meant. */
#define TYPO_MAX 2u

static const struct rd_key *find_key(const struct rd_object *object, struct sk_str name)
{
    for (size_t i = 0; i < object->nkeys; i++) {
        if (sk_str_is(name, object->keys[i].name)) {
            return &object->keys[i];
        }
    }
    return NULL;
}

static bool is_known(const struct rd_object *object, struct sk_str name)
{
    for (size_t i = 0; object->known && object->known[i]; i++) {
        if (sk_str_is(name, object->known[i])) {
            return true;
        }
    }
    return false;
}

static void consider(struct sk_str name, const char *candidate, unsigned *best, const char **ret)
{
    unsigned distance = sk_str_distance(name, sk_str(candidate), TYPO_MAX);
    if (distance < *best && distance < name.len) {
        *best = distance;
        *ret = candidate;
    }
}

static const char *nearest(const struct rd_object *object, struct sk_str name)
{
    unsigned best = TYPO_MAX + 1;
    const char *found = NULL;

    for (size_t i = 0; i < object->nkeys; i++) {
        consider(name, object->keys[i].name, &best, &found);
    }
    for (size_t i = 0; object->known && object->known[i]; i++) {
        consider(name, object->known[i], &best, &found);
    }
    return found;
}

static struct sk_pos key_pos(const struct rd *rd, const struct spot *at)
{
    return (struct sk_pos){rd->file, at->key_line, at->key_col};
}

static int refuse(struct rd *rd, const struct spot *at, const struct rd_key *key)
{
    char path[256];

    spot_path(at, path, sizeof(path));
    (void)rd_fail(rd, key_pos(rd, at), SK_ERR_UNSUPPORTED,
                  "compose key '%s' is not supported by skerry yet", path);
    return sk_err_fix(
        &rd->err, "%s",
        key && key->note ? key->note : "remove the key; docs/declaration.md lists those that work");
}

static int refuse_planned(struct rd *rd, const struct spot *at)
{
    char path[256];

    spot_path(at, path, sizeof(path));
    (void)rd_fail(rd, key_pos(rd, at), SK_ERR_UNSUPPORTED,
                  "key '%s' can be planned, but not applied by skerry yet", path);
    return sk_err_fix(&rd->err, "remove the key; docs/declaration.md lists those that work");
}

static int unknown(struct rd *rd, const struct rd_object *object, const struct spot *at)
{
    const char *found = nearest(object, at->key);
    char path[256];

    spot_path(at, path, sizeof(path));
    if (found) {
        (void)rd_fail(rd, key_pos(rd, at), SK_ERR_INPUT, "unknown key '%s'; did you mean '%s'?",
                      path, found);
        return sk_err_fix(&rd->err, "write '%s' for '%.*s', or remove it", found, SK_PRI(at->key));
    }
    (void)rd_fail(rd, key_pos(rd, at), SK_ERR_INPUT, "unknown key '%s'", path);
    return sk_err_fix(&rd->err, "remove the key; docs/declaration.md lists those that work");
}

/* Extensions are ignored as Compose does, but a policy must not get lost by a typo or by standing
 * in the wrong place. */
static int extension(struct rd *rd, const struct rd_object *object, const struct spot *at)
{
    char path[256];

    spot_path(at, path, sizeof(path));
    if (sk_str_is(at->key, "x-skerry")) {
        (void)rd_fail(rd, key_pos(rd, at), SK_ERR_INPUT, "'%s' has no meaning here", path);
        return sk_err_fix(&rd->err, "x-skerry belongs into a service or at the top level");
    }
    if (sk_str_distance(at->key, SK_STR("x-skerry"), TYPO_MAX) <= TYPO_MAX) {
        return unknown(rd, object, at);
    }
    return 0;
}

/* Written, but the same as not written: `exclusive: false`. */
static bool means_nothing(const struct sk_node *node)
{
    return node->kind == SK_NULL || (node->kind == SK_BOOL && sk_str_is(node->u.text, "false"));
}

static int read_member(struct rd *rd, const struct rd_object *object, const struct spot *at,
                       void *into)
{
    const struct rd_key *key = find_key(object, at->key);

    if (!key) {
        if (object->extensions && sk_str_starts(at->key, SK_STR("x-"))) {
            return extension(rd, object, at);
        }
        return is_known(object, at->key) ? refuse(rd, at, NULL) : unknown(rd, object, at);
    }
    switch (key->status) {
    case RD_REFUSED:
        return refuse(rd, at, key);
    case RD_PLANNED:
        if (rd->for_apply && !means_nothing(at->node)) {
            return refuse_planned(rd, at);
        }
        break;
    case RD_EXECUTED:
    case RD_IGNORED:
        break;
    }
    if (!key->read || at->node->kind == SK_NULL) {
        return 0;
    }
    return key->read(rd, at, into);
}

int rd_object_read(struct rd *rd, const struct spot *at, const struct rd_object *object, void *into)
{
    const struct sk_node *node = at->node;

    if (rd_want(rd, at, SK_MAP) < 0) {
        return rd->err.code;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        struct spot member = spot_member(at, &node->u.members[i]);
        int code = read_member(rd, object, &member, into);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}
