/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/vault_files.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "sys/file.h"

#define BOX_BYTES (SEAL_KEY_BYTES + SEAL_BOX_EXTRA)

const char *const vault_names[] = {VAULT_CA_KEY, "etcd-ca.key", "peer.key", VAULT_PROBE_KEY,
                                   VAULT_CLUSTER_KEY};
const size_t vault_nnames = SK_ARRAY_LEN(vault_names);

static void path_of(char *ret, size_t size, const char *dir, const char *name, const char *end)
{
    (void)snprintf(ret, size, "%s/%s%s", dir, name, end);
}

bool vault_file_there(const char *dir, const char *name)
{
    char path[VAULT_DIR_SIZE + 128];

    path_of(path, sizeof(path), dir, name, "");
    return access(path, F_OK) == 0;
}

int vault_file_read(const char *dir, const char *name, const char *end, struct sk_buf *ret,
                    struct sk_err *err)
{
    char path[VAULT_DIR_SIZE + 128];

    path_of(path, sizeof(path), dir, name, end);
    return sys_file_read(path, SEAL_TEXT_BYTES_MAX, ret, err);
}

int vault_file_write(const char *dir, const char *name, const char *end, struct sk_str bytes,
                     struct sk_err *err)
{
    char path[VAULT_DIR_SIZE + 128];

    path_of(path, sizeof(path), dir, name, end);
    return sys_file_write(path, bytes, 0600, err);
}

int vault_file_remove(const char *dir, const char *name, struct sk_err *err)
{
    char path[VAULT_DIR_SIZE + 128];

    path_of(path, sizeof(path), dir, name, "");
    return sys_file_remove(path, err);
}

/* ---- shares ---- */

int vault_share_read(const char *dir, const char *name, struct seal_share *ret, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_err why = {0};
    int r = vault_file_read(dir, name, "", &text, &why);

    if (r == 0) {
        r = seal_share_read(sk_buf_str(&text), ret, &why);
        if (r < 0) {
            why.code = r = SK_ERR_CORRUPT;
            (void)sk_err_wrap(&why, "'%s/%s'", dir, name);
        }
    }
    seal_wipe(&text);
    if (r < 0 && err) {
        *err = why;
    }
    return r;
}

void vault_generation(const char *dir, char ret[SEAL_ID_SIZE])
{
    struct seal_share share;

    ret[0] = '\0';
    if (vault_share_read(dir, VAULT_SHARE_FILE, &share, NULL) == 0) {
        memcpy(ret, share.generation, SEAL_ID_SIZE);
    }
    sodium_memzero(&share, sizeof(share));
}

/* ---- what is kept for others ---- */

static int held_name(const char *owner, char *ret, size_t size, struct sk_err *err)
{
    if (!sk_str_is_label(sk_str(owner))) {
        return sk_err_set(err, SK_ERR_INPUT, "'%.64s' is no name for a node", owner);
    }
    (void)snprintf(ret, size, VAULT_HELD_DIR "/%s.json", owner);
    return 0;
}

/* Those that are kept, at most two. None, or what cannot be read any more: none. */
static size_t held_read(const char *dir, const char *name, struct seal_share ret[2])
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    size_t n = 0;

    if (vault_file_read(dir, name, "", &text, NULL) == 0 &&
        sk_json_read(arena, name, sk_buf_str(&text), NULL, &root, NULL) == 0 &&
        root->kind == SK_SEQ) {
        for (uint32_t i = 0; i < root->count && n < 2; i++) {
            if (root->u.items[i].kind == SK_STRING &&
                seal_share_read(root->u.items[i].u.text, &ret[n], NULL) == 0) {
                n++;
            }
        }
    }
    seal_wipe(&text);
    sk_arena_free(arena);
    return n;
}

static void held_write(const struct seal_share *shares, size_t count, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_arr(&w);
    for (size_t i = 0; i < count; i++) {
        struct sk_buf text = SK_BUF_INIT;
        seal_share_write(&shares[i], &text);
        sk_jw_str(&w, sk_buf_str(&text));
        seal_wipe(&text);
    }
    sk_jw_arr_end(&w);
}

int vault_held_put(const char *dir, const char *cluster, const char *owner, struct sk_str text,
                   const char *in_force, struct sk_err *err)
{
    struct seal_share shares[3];
    struct sk_buf json = SK_BUF_INIT;
    char name[128], path[VAULT_DIR_SIZE + 16];
    size_t n = 0, had;
    int r = held_name(owner, name, sizeof(name), err);

    r = r < 0 ? r : seal_share_read(text, &shares[2], err);
    if (r == 0 && strcmp(shares[2].cluster, cluster) != 0) {
        r = sk_err_set(err, SK_ERR_CONFLICT, "the share is of cluster '%s'", shares[2].cluster);
    }
    if (r < 0) {
        return r;
    }
    had = held_read(dir, name, shares);
    for (size_t i = 0; i < had && n == 0; i++) {
        if (strcmp(shares[i].generation, in_force) == 0 &&
            strcmp(shares[i].generation, shares[2].generation) != 0) {
            shares[n++] = shares[i];
        }
    }
    shares[n++] = shares[2];
    held_write(shares, n, &json);
    (void)snprintf(path, sizeof(path), "%s/" VAULT_HELD_DIR, dir);
    r = sys_mkdirs(path, 0700, err);
    r = r < 0 ? r : vault_file_write(dir, name, "", sk_buf_str(&json), err);
    seal_wipe(&json);
    sodium_memzero(shares, sizeof(shares));
    return r;
}

int vault_held_get(const char *dir, const char *owner, struct sk_buf *ret_json, struct sk_err *err)
{
    struct seal_share shares[2];
    char name[128];
    int r = held_name(owner, name, sizeof(name), err);

    if (r == 0) {
        held_write(shares, held_read(dir, name, shares), ret_json);
    }
    sodium_memzero(shares, sizeof(shares));
    return r;
}

/* ---- the recovery code ---- */

int vault_recovery_write(const char *dir, const char *cluster, const struct vault_recovery *rec,
                         const uint8_t key[SEAL_KEY_BYTES], struct sk_err *err)
{
    struct sk_buf box = SK_BUF_INIT, text = SK_BUF_INIT;
    char public_hex[2 * SEAL_PUBLIC_BYTES + 1], hex[2 * BOX_BYTES + 1];
    struct sk_jw w;
    int r;

    seal_to(rec->public_key, (struct sk_str){(const char *)key, SEAL_KEY_BYTES}, &box);
    sk_hex((const uint8_t *)box.ptr, box.len, hex);
    sk_hex(rec->public_key, SEAL_PUBLIC_BYTES, public_hex);
    sk_jw_init(&w, &text);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "cluster", cluster);
    sk_jw_kint(&w, "made_ms", rec->made_ms);
    sk_jw_kcstr(&w, "public", public_hex);
    sk_jw_kcstr(&w, "key", hex);
    sk_jw_obj_end(&w);
    r = vault_file_write(dir, VAULT_RECOVERY_FILE, "", sk_buf_str(&text), err);
    sk_buf_release(&box);
    sk_buf_release(&text);
    return r;
}

static int read_recovery(const char *dir, struct vault_recovery *ret, uint8_t ret_box[BOX_BYTES],
                         struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    int r = vault_file_read(dir, VAULT_RECOVERY_FILE, "", &text, err);

    if (r == SK_ERR_NOT_FOUND) {
        (void)sk_err_set(err, r, "'%s' holds no recovery code's public half", dir);
        (void)sk_err_fix(err, "'skerry control recovery new' makes a code");
    } else if (r == 0 && (sk_json_read(arena, VAULT_RECOVERY_FILE, sk_buf_str(&text), NULL, &root,
                                       NULL) < 0 ||
                          !sk_unhex(sk_map_str(root, "public", SK_STR("")), ret->public_key,
                                    SEAL_PUBLIC_BYTES) ||
                          !sk_unhex(sk_map_str(root, "key", SK_STR("")), ret_box, BOX_BYTES))) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "'%s/" VAULT_RECOVERY_FILE "' is damaged", dir);
    } else if (r == 0) {
        ret->made_ms = sk_map_int(root, "made_ms", 0);
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

int vault_recovery(const char *dir, struct vault_recovery *ret, struct sk_err *err)
{
    struct vault_recovery rec;
    uint8_t box[BOX_BYTES];
    int r = read_recovery(dir, &rec, box, err);

    if (r == 0) {
        *ret = rec;
    }
    return r;
}

int vault_recovery_open(const char *dir, const struct seal_code *code, uint8_t ret[SEAL_KEY_BYTES],
                        struct sk_err *err)
{
    struct vault_recovery rec;
    struct sk_buf key = SK_BUF_INIT;
    uint8_t box[BOX_BYTES];
    int r = read_recovery(dir, &rec, box, err);

    r = r < 0 ? r : seal_open(code, (struct sk_str){(const char *)box, sizeof(box)}, &key, err);
    if (r == 0) {
        memcpy(ret, key.ptr, SEAL_KEY_BYTES);
    }
    seal_wipe(&key);
    return r;
}

/* ---- to and from other folders ---- */

static int export_file(struct sk_jw *w, const char *dir, const char *name, const char *end,
                       struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    char file[128];
    int r = vault_file_read(dir, name, end, &text, err);

    if (r == 0) {
        (void)snprintf(file, sizeof(file), "%s%s", name, end);
        sk_jw_kstr(w, file, sk_buf_str(&text));
    }
    sk_buf_release(&text);
    return r == SK_ERR_NOT_FOUND ? 0 : r;
}

int vault_export(const char *dir, struct sk_buf *ret_json, struct sk_err *err)
{
    struct sk_jw w;
    struct sk_buf json = SK_BUF_INIT;
    int r = 0;

    sk_jw_init(&w, &json);
    sk_jw_obj(&w);
    for (size_t i = 0; i < vault_nnames && r == 0; i++) {
        r = export_file(&w, dir, vault_names[i], ".sealed", err);
    }
    r = r < 0 ? r : export_file(&w, dir, VAULT_RECOVERY_FILE, "", err);
    sk_jw_obj_end(&w);
    if (r == 0) {
        sk_buf_addstr(ret_json, sk_buf_str(&json));
    }
    sk_buf_release(&json);
    return r;
}

static int import_file(const struct sk_node *root, const char *dir, const char *name,
                       const char *end, struct sk_err *err)
{
    char file[128];
    struct sk_str text;

    (void)snprintf(file, sizeof(file), "%s%s", name, end);
    text = sk_map_str(root, file, SK_STR_NULL);
    if (!text.ptr) {
        return 0;
    }
    if (text.len > SEAL_TEXT_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "'%s' is larger than a sealed secret", file);
    }
    return vault_file_write(dir, name, end, text, err);
}

int vault_import(const char *dir, struct sk_str json, struct sk_err *err)
{
    static const struct sk_limits limits = {.bytes_max = 8 * SEAL_TEXT_BYTES_MAX, .depth_max = 4};
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int r;

    if (vault_file_there(dir, VAULT_KEY_FILE)) {
        sk_arena_free(arena);
        return sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds the keys of a cluster", dir);
    }
    r = sk_json_read(arena, "sealed secrets", json, &limits, &root, err);
    for (size_t i = 0; i < vault_nnames && r == 0; i++) {
        r = import_file(root, dir, vault_names[i], ".sealed", err);
    }
    r = r < 0 ? r : import_file(root, dir, VAULT_RECOVERY_FILE, "", err);
    sk_arena_free(arena);
    return r;
}

/* ---- the end ---- */

static int wipe_held(const char *dir, struct sk_err *err)
{
    char path[VAULT_DIR_SIZE + 16];
    struct dirent *entry;
    DIR *list;
    int r = 0;

    (void)snprintf(path, sizeof(path), "%s/" VAULT_HELD_DIR, dir);
    list = opendir(path);
    if (!list) {
        return errno == ENOENT ? 0 : sk_err_errno(err, errno, "open '%s'", path);
    }
    while (r == 0 && (entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(list), entry->d_name, 0) != 0) {
            r = sk_err_errno(err, errno, "remove '%s/%s'", path, entry->d_name);
        }
    }
    (void)closedir(list);
    return r < 0 || rmdir(path) == 0 ? r : sk_err_errno(err, errno, "remove '%s'", path);
}

int vault_wipe(const char *dir, struct sk_err *err)
{
    static const char *const names[] = {VAULT_KEY_FILE, VAULT_SHARE_FILE, VAULT_RECOVERY_FILE};
    int r = wipe_held(dir, err);

    for (size_t i = 0; i < SK_ARRAY_LEN(names) && r == 0; i++) {
        r = vault_file_remove(dir, names[i], err);
    }
    for (size_t i = 0; i < vault_nnames && r == 0; i++) {
        char file[128];
        (void)snprintf(file, sizeof(file), "%s.sealed", vault_names[i]);
        r = vault_file_remove(dir, file, err);
    }
    return r;
}
