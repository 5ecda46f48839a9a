/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

/* `environment` and `env_file`. */

static bool from_caller(const struct rd *rd, struct sk_str key, struct sk_str *ret)
{
    return rd->env && rd->env->lookup && rd->env->lookup(rd->env->ctx, key, ret);
}

/* A key alone takes the caller's value, and is left out where that has none. */
static int read_variable(struct rd *rd, const struct spot *at, struct sk_kv *kvs, size_t *count)
{
    struct sk_kv *kv = &kvs[*count];
    struct sk_str text;
    bool has_value = true;

    if (at->key.ptr) {
        kv->key = sk_arena_str(rd->arena, at->key);
        has_value = at->node->kind != SK_NULL;
        if (has_value && rd_scalar(rd, at, &kv->value) < 0) {
            return rd->err.code;
        }
    } else {
        if (rd_string(rd, at, &text) < 0) {
            return rd->err.code;
        }
        has_value = rd_cut_kv(text, &kv->key, &kv->value);
        kv->key = sk_arena_str(rd->arena, kv->key);
    }
    if (!rd_kv_key_valid(kv->key)) {
        return rd_bad(rd, at, "has a name that is empty or not of printable ASCII");
    }
    if (!has_value) {
        struct sk_str value;
        if (!from_caller(rd, kv->key, &value)) {
            return 0;
        }
        if (!sk_str_utf8_valid(value)) {
            return rd_bad(rd, at, "takes a value from the environment that is no text");
        }
        kv->value = sk_arena_str(rd->arena, value);
    }
    (*count)++;
    return 0;
}

int read_environment(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    const struct sk_node *node = at->node;
    struct sk_kv *kvs;
    struct sk_str dup;

    if (node->kind != SK_MAP && node->kind != SK_SEQ) {
        return rd_bad(rd, at, "must be a map or a list of KEY=VALUE");
    }
    if (rd_at_most(rd, at, PROJECT_ENV_MAX) < 0) {
        return rd->err.code;
    }
    kvs = SK_ARENA_ARRAY(rd->arena, struct sk_kv, node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        struct spot item =
            node->kind == SK_MAP ? spot_member(at, &node->u.members[i]) : spot_item(at, i);
        if (read_variable(rd, &item, kvs, &draft->nenv) < 0) {
            return rd->err.code;
        }
    }
    if (!rd_sort_kvs(kvs, draft->nenv, &dup)) {
        return rd_bad(rd, at, "sets '%.*s' twice", SK_PRI(dup));
    }
    draft->env = kvs;
    return 0;
}

/* env_file -------------------------------------------------------------------------------- */

struct env_file {
    struct sk_str path;
    bool required;
};

static int read_path(struct rd *rd, const struct spot *at, void *into)
{
    return rd_filled(rd, at, PROJECT_TEXT_MAX, &((struct env_file *)into)->path);
}

static int read_required(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct env_file *)into)->required);
}

static const struct rd_key env_file_keys[] = {
    {"path", RD_EXECUTED, read_path, "path, relative to the file; required", NULL},
    {"required", RD_EXECUTED, read_required, "true (default) or false", "false: may be missing"},
};
const struct rd_object env_file_object = {.place = "services.*.env_file[]",
                                          .keys = env_file_keys,
                                          .nkeys = SK_ARRAY_LEN(env_file_keys),
                                          .known = compose_env_file_keys,
                                          .extensions = true};

static int read_one_file(struct rd *rd, const struct spot *at, struct env_list *list)
{
    struct env_file file = {.path = SK_STR(""), .required = true};
    struct sk_str bytes;
    int code;

    if (at->node->kind == SK_MAP) {
        if (rd_object_read(rd, at, &env_file_object, &file) < 0) {
            return rd->err.code;
        }
        if (file.path.len == 0) {
            return rd_bad(rd, at, "lacks 'path'");
        }
    } else if (read_path(rd, at, &file) < 0) {
        return rd->err.code;
    }
    if (!rd->env || !rd->env->read_file) {
        return rd_bad(rd, at, "cannot be read here: put the variables into 'environment'");
    }
    code = rd->env->read_file(rd->env->ctx, file.path, &bytes, &rd->err);
    if (code == SK_ERR_NOT_FOUND && !file.required) {
        sk_err_clear(&rd->err);
        return 0;
    }
    if (code == SK_ERR_NOT_FOUND) {
        rd->err.code = SK_ERR_INPUT; /* the declaration is wrong, not the question */
        (void)rd_wrap(rd, at);
        return sk_err_fix(&rd->err, "create the file, or write {path: ..., required: false}");
    }
    if (code < 0) {
        return rd_wrap(rd, at);
    }
    return envfile_parse(rd, file.path, bytes, list);
}

static int read_files(struct rd *rd, const struct spot *at, struct env_list *list)
{
    if (at->node->kind != SK_SEQ) {
        return read_one_file(rd, at, list);
    }
    if (rd_at_most(rd, at, PROJECT_ENV_FILES_MAX) < 0) {
        return rd->err.code;
    }
    for (uint32_t i = 0; i < at->node->count; i++) {
        struct spot item = spot_item(at, i);
        if (read_one_file(rd, &item, list) < 0) {
            return rd->err.code;
        }
    }
    return 0;
}

int read_env_file(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct env_list list = {0};
    int code = read_files(rd, at, &list);

    if (code == 0) {
        env_list_finish(rd, &list, &draft->env_file, &draft->nenv_file);
    }
    env_list_release(&list);
    return code;
}
