/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/images.h"

#include <inttypes.h>
#include <string.h>

#include "agent/assign.h"
#include "base/json.h"

/* What is pure about images: names, manifests. */

static bool path_plain(struct sk_str path)
{
    if (path.len < 2 || path.ptr[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c <= 0x20 || c == 0x7f) {
            return false;
        }
        if (c == '/' && i + 2 < path.len + 0 && path.ptr[i + 1] == '.' && path.ptr[i + 2] == '.' &&
            (i + 3 == path.len || path.ptr[i + 3] == '/')) {
            return false;
        }
    }
    return true;
}

static bool name_plain(struct sk_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-' || c == '/' || c == ':' || c == '@';
        if (!ok) {
            return false;
        }
    }
    return name.len > 0 && name.ptr[0] != '-' && name.ptr[0] != '/';
}

/* "host:5000/a/b:tag@sha256:..." -> "host:5000/a/b" */
static struct sk_str without_tag(struct sk_str name)
{
    struct sk_str head, tail;

    (void)sk_str_cut(name, '@', &head, &tail);
    for (size_t i = head.len; i > 0 && head.ptr[i - 1] != '/'; i--) {
        if (head.ptr[i - 1] == ':') {
            head.len = i - 1;
            break;
        }
    }
    return head;
}

/* A registry on this machine, as people run it for trying things out, speaks no TLS. */
static bool is_loopback(struct sk_str name)
{
    return sk_str_starts(name, SK_STR("localhost:")) || sk_str_starts(name, SK_STR("localhost/")) ||
           sk_str_starts(name, SK_STR("127."));
}

int image_source(struct sk_str ref, struct sk_str digest, struct sk_arena *arena,
                 struct sk_str *ret_source, bool *ret_insecure, struct sk_err *err)
{
    static const char *const local[] = {"oci:", "oci-archive:", "docker-archive:"};
    struct sk_str name = ref;

    for (size_t i = 0; i < 3; i++) {
        struct sk_str prefix = sk_str(local[i]);
        if (sk_str_starts(ref, prefix)) {
            struct sk_str path = {ref.ptr + prefix.len, ref.len - prefix.len};
            if (!path_plain(path)) {
                return sk_err_set(err, SK_ERR_INPUT, "image '%.*s' needs an absolute path",
                                  SK_PRI(ref));
            }
            *ret_source = sk_arena_str(arena, ref);
            *ret_insecure = false;
            return 0;
        }
    }
    if (sk_str_starts(name, SK_STR("docker://"))) {
        name.ptr += 9;
        name.len -= 9;
    }
    if (!name_plain(name)) {
        return sk_err_set(err, SK_ERR_INPUT, "image '%.*s' is not a valid name", SK_PRI(ref));
    }
    *ret_insecure = is_loopback(name);
    if (digest.len > 0) {
        struct sk_str bare = without_tag(name);
        *ret_source = sk_arena_printf(arena, "docker://%.*s@%.*s", SK_PRI(bare), SK_PRI(digest));
    } else {
        *ret_source = sk_arena_printf(arena, "docker://%.*s", SK_PRI(name));
    }
    return 0;
}

static int check_blob(const struct sk_node *blob, const char *what, int64_t *ret_size,
                      struct sk_str *ret_digest, struct sk_err *err)
{
    int64_t size = blob && blob->kind == SK_MAP ? sk_map_int(blob, "size", -1) : -1;
    struct sk_str digest =
        blob && blob->kind == SK_MAP ? sk_map_str(blob, "digest", SK_STR("")) : SK_STR("");

    if (size < 0 || !assign_digest_valid(digest)) {
        return sk_err_set(err, SK_ERR_INPUT, "the image's manifest has a bad %s", what);
    }
    *ret_size = size;
    *ret_digest = digest;
    return 0;
}

int image_check_manifest(struct sk_str json, struct sk_arena *arena, int64_t *ret_bytes,
                         struct sk_str *ret_config_digest, struct sk_err *err)
{
    static const struct sk_limits limits = {
        .bytes_max = 4 << 20, .depth_max = 16, .nodes_max = 20000};
    const struct sk_node *root, *layers;
    struct sk_str digest;
    int64_t total = 0, size;

    if (sk_json_read(arena, "manifest", json, &limits, &root, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    layers = root->kind == SK_MAP ? sk_map_seq(root, "layers") : NULL;
    if (!layers || layers->count > IMAGE_LAYERS_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "the image's manifest has no layers, or over %d",
                          IMAGE_LAYERS_MAX);
    }
    for (uint32_t i = 0; i < layers->count; i++) {
        if (check_blob(&layers->u.items[i], "layer", &size, &digest, err) < 0) {
            return err ? err->code : SK_ERR_INPUT;
        }
        if (size > IMAGE_BYTES_MAX - total) {
            return sk_err_set(err, SK_ERR_LIMIT, "the image is larger than %" PRId64 " bytes",
                              IMAGE_BYTES_MAX);
        }
        total += size;
    }
    if (check_blob(sk_map_get(root, SK_STR("config")), "config", &size, ret_config_digest, err) <
        0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    if (size > 1 << 20) {
        return sk_err_set(err, SK_ERR_LIMIT, "the image's configuration is larger than 1 MiB");
    }
    *ret_bytes = total;
    return 0;
}
