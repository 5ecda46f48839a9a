/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/offline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "sys/clock.h"
#include "sys/file.h"

#define FILE_BYTES_MAX (512u * 1024 * 1024)
#define ENV_FILE_BYTES_MAX (1024u * 1024)

/* What a declaration may ask for while it is read: variables, and files named relative to it. */
struct reader {
    struct sk_str folder; /* of the declaration, with the final '/', or "" */
    struct sk_arena *arena;
};

static int read_bytes(const char *path, size_t bytes_max, struct sk_buf *ret, struct sk_err *err)
{
    if (strcmp(path, "-") == 0) {
        return sys_fd_read(STDIN_FILENO, "standard input", bytes_max, ret, err);
    }
    if (sys_file_read(path, bytes_max, ret, err) < 0) {
        if (err && err->errnum == ENOENT) {
            err->code = SK_ERR_INPUT;
            return sk_err_fix(err, "check the path; it is relative to the current folder");
        }
        return err ? err->code : SK_ERR_IO;
    }
    return 0;
}

static bool lookup_variable(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    sk_autofree char *key = sk_xstrndup(name.ptr, name.len);
    const char *value = getenv(key);

    (void)ctx;
    if (!value) {
        return false;
    }
    *ret_value = sk_str(value);
    return true;
}

static int read_named_file(void *ctx, struct sk_str path, struct sk_str *ret_bytes,
                           struct sk_err *err)
{
    struct reader *reader = ctx;
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_str full = path;
    int r;

    if (path.len && path.ptr[0] != '/') {
        full = sk_arena_printf(reader->arena, "%.*s%.*s", SK_PRI(reader->folder), SK_PRI(path));
    } else {
        full = sk_arena_str(reader->arena, path);
    }
    r = sys_file_read(full.ptr, ENV_FILE_BYTES_MAX, &buf, err);
    if (r == 0) {
        *ret_bytes = sk_arena_str(reader->arena, sk_buf_str(&buf));
    }
    sk_buf_release(&buf);
    return r;
}

int offline_project(const char *path, bool for_apply, struct project **ret, struct sk_err *err)
{
    const char *slash = strrchr(path, '/');
    struct reader reader = {.folder = slash ? (struct sk_str){path, (size_t)(slash - path) + 1}
                                            : SK_STR("")};
    struct project_env env = {lookup_variable, read_named_file, &reader};
    struct project_options options = {.env = &env, .for_apply = for_apply};
    struct sk_buf buf = SK_BUF_INIT;
    int r = read_bytes(path, FILE_BYTES_MAX, &buf, err);

    if (r == 0) {
        reader.arena = sk_arena_new();
        r = project_read(strcmp(path, "-") == 0 ? "stdin" : path, sk_buf_str(&buf), &options, ret,
                         err);
        sk_arena_free(reader.arena);
    }
    sk_buf_release(&buf);
    return r;
}

static int offline_inventory(const char *path, struct inventory **ret, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    int r = read_bytes(path, FILE_BYTES_MAX, &buf, err);

    if (r == 0) {
        r = inventory_read(strcmp(path, "-") == 0 ? "stdin" : path, sk_buf_str(&buf), ret, err);
    }
    sk_buf_release(&buf);
    return r;
}

int offline_plan(const char *path, struct plan **ret, struct sk_err *err)
{
    const char *name = strcmp(path, "-") == 0 ? "stdin" : path;
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root;
    int r = read_bytes(path, FILE_BYTES_MAX, &buf, err);

    if (r == 0) {
        static const struct sk_limits limits = {.bytes_max = FILE_BYTES_MAX,
                                                .nodes_max = 32u << 20};
        r = sk_json_read(arena, name, sk_buf_str(&buf), &limits, &root, err);
    }
    if (r == 0) {
        r = plan_from_tree(name, root, ret, err);
    }
    sk_arena_free(arena);
    sk_buf_release(&buf);
    return r;
}

static int by_name(const void *a, const void *b)
{
    const struct project *const *left = a;
    const struct project *const *right = b;
    return sk_str_cmp((*left)->name, (*right)->name);
}

int offline_world(const char *inventory_path, const char *const *paths, size_t npaths,
                  bool for_apply, struct offline_world *ret, struct sk_err *err)
{
    struct offline_world world = {0};
    int64_t start = sys_now_us();
    int r = 0;

    if (inventory_path) {
        r = offline_inventory(inventory_path, &world.inv, err);
    }
    world.projects = sk_xcalloc(npaths, sizeof(struct project *));
    for (size_t i = 0; r == 0 && i < npaths; i++) {
        r = offline_project(paths[i], for_apply, &world.projects[world.nprojects], err);
        world.nprojects += r == 0;
    }
    if (r == 0) {
        qsort(world.projects, world.nprojects, sizeof(struct project *), by_name);
    }
    if (r == 0 && world.inv) {
        r = world_check(world.inv, (const struct project *const *)world.projects, world.nprojects,
                        err);
    }
    if (r < 0) {
        offline_world_release(&world);
        return r;
    }
    world.read_ms = (double)(sys_now_us() - start) / 1000.0;
    *ret = world;
    return 0;
}

void offline_world_release(struct offline_world *world)
{
    for (size_t i = 0; i < world->nprojects; i++) {
        project_free(world->projects[i]);
    }
    free(world->projects);
    inventory_free(world->inv);
    memset(world, 0, sizeof(*world));
}
