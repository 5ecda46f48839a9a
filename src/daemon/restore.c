/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "daemon/backup.h"
#include "daemon/backup_files.h"
#include "daemon/folders.h"
#include "daemon/vault.h"
#include "net/address.h"
#include "net/seal_file.h"
#include "store/store.h"
#include "sys/file.h"

#define KEY(name) SK_STR("/skerry/v1/" name)

/* ---- the file's entries, into a folder beside the data folder ---- */

struct unpack {
    const char *dir;
    int fd; /* of the entry under way, or -1 */
    char name[64];
};

static int begin_file(void *ctx, const char *name, mode_t mode, struct sk_err *err)
{
    struct unpack *u = ctx;
    char path[640];

    (void)snprintf(path, sizeof(path), "%s/%s", u->dir, name);
    (void)snprintf(u->name, sizeof(u->name), "%s", name);
    u->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    return u->fd < 0 ? sk_err_errno(err, errno, "create '%s'", path) : 0;
}

static int file_bytes(void *ctx, struct sk_str bytes, struct sk_err *err)
{
    struct unpack *u = ctx;

    while (bytes.len) {
        ssize_t n = write(u->fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return sk_err_errno(err, errno, "write '%s/%s'", u->dir, u->name);
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

static int finish_file(void *ctx, struct sk_err *err)
{
    struct unpack *u = ctx;
    int fd = u->fd;

    u->fd = -1;
    return close(fd) < 0 ? sk_err_errno(err, errno, "write '%s/%s'", u->dir, u->name) : 0;
}

static int unpack_all(int fd, struct seal_reader *reader, struct backup_entries *entries,
                      struct sk_err *err)
{
    char bytes[SEAL_CHUNK_BYTES];
    struct sk_buf plain = SK_BUF_INIT;
    ssize_t n;
    int r = 0;

    while (r == 0 && (n = read(fd, bytes, sizeof(bytes))) != 0) {
        if (n < 0) {
            r = errno == EINTR ? 0 : sk_err_errno(err, errno, "read the backup");
            continue;
        }
        r = seal_reader_feed(reader, (struct sk_str){bytes, (size_t)n}, &plain, err);
        r = r < 0 ? r : backup_entries_feed(entries, sk_buf_str(&plain), err);
        sk_buf_clear(&plain);
    }
    r = r < 0 ? r : seal_reader_end(reader, &plain, err);
    r = r < 0 ? r : backup_entries_feed(entries, sk_buf_str(&plain), err);
    r = r < 0 ? r : backup_entries_check(entries, err);
    seal_wipe(&plain);
    return r;
}

static int unpack_file(const struct restore *restore, const char *into, struct sk_err *err)
{
    struct unpack u = {.dir = into, .fd = -1};
    struct backup_entries entries = {.sink = {begin_file, file_bytes, finish_file, &u}};
    struct seal_reader *reader = seal_reader_new(restore->code);
    int fd = open(restore->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int r = fd < 0 ? sk_err_errno(err, errno, "open '%s'", restore->file)
                   : unpack_all(fd, reader, &entries, err);

    if (fd >= 0) {
        (void)close(fd); /* only read */
    }
    if (u.fd >= 0) {
        (void)close(u.fd); /* of an entry that was cut short */
    }
    backup_entries_release(&entries);
    seal_reader_free(reader);
    if (r < 0 && fd >= 0) {
        (void)sk_err_wrap(err, "'%s'", restore->file);
    }
    return r;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* ---- the state, as one that begins anew here ---- */

/* The record with one member replaced; all else is kept. */
static void with_member(const struct sk_node *root, const char *name, struct sk_str json,
                        struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    for (uint32_t i = 0; i < root->count; i++) {
        sk_jw_keystr(&w, root->u.members[i].key);
        if (sk_str_is(root->u.members[i].key, name)) {
            sk_jw_raw(&w, json);
        } else {
            sk_jw_node(&w, &root->u.members[i].value);
        }
    }
    sk_jw_obj_end(&w);
}

static int put_member(struct store *store, const struct store_record *record, const char *name,
                      struct sk_str json, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_buf text = SK_BUF_INIT;
    struct store_revision revision;
    int r = sk_json_read(arena, record->key.ptr, record->value, NULL, &root, err);

    if (r == 0 && root->kind == SK_MAP) {
        with_member(root, name, json, &text);
        struct store_op op = {STORE_PUT, record->key, sk_buf_str(&text)};
        struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
        r = store_txn(store, &txn, &revision, err);
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

/* There is one control node now, whatever there was. */
static int forget_members(struct store *store, struct sk_err *err)
{
    struct store_op op = {.kind = STORE_DELETE, .key = KEY("control")};
    struct store_txn txn = {.expect_number = -1, .ops = &op, .nops = 1};
    struct store_revision revision;

    return store_txn(store, &txn, &revision, err);
}

/* Of `node`'s own record, and of its instances that listen on its address. */
static int move_records(struct store *store, const char *node, struct sk_str old, struct sk_str now,
                        struct sk_err *err)
{
    struct store_list list = {0};
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    char own[96];
    int r = store_list(store, KEY(""), 0, &list, err);

    (void)snprintf(own, sizeof(own), "/skerry/v1/nodes/%s", node);
    sk_buf_printf(&json, "\"%.*s\"", SK_PRI(now)); /* an address: nothing to escape */
    for (size_t i = 0; i < list.count && r == 0; i++) {
        const struct store_record *record = &list.records[i];
        const struct sk_node *root = NULL;
        bool is_node = sk_str_is(record->key, own);
        if (!is_node && !sk_str_starts(record->key, KEY("instances/"))) {
            continue;
        }
        r = sk_json_read(arena, "record", record->value, NULL, &root, err);
        if (r == 0 && root->kind == SK_MAP &&
            sk_str_eq(sk_map_str(root, "address", SK_STR("")), old) &&
            (is_node || sk_str_is(sk_map_str(root, "node", SK_STR("")), node))) {
            r = put_member(store, record, "address", sk_buf_str(&json), err);
        }
    }
    store_list_release(&list);
    sk_buf_release(&json);
    sk_arena_free(arena);
    return r;
}

static int restore_state(const struct folders *to, const char *from, const struct daemon_config *c,
                         const char *old_address, struct sk_err *err)
{
    struct store *store = NULL;
    char path[640];
    int r = store_open_sqlite(to->control, &store, err);

    (void)snprintf(path, sizeof(path), "%s/" BACKUP_STATE, from);
    r = r < 0 ? r : store_restore(store, path, err);
    r = r < 0 ? r : forget_members(store, err);
    if (r == 0 && strcmp(old_address, c->address) != 0) {
        r = move_records(store, c->node, sk_str(old_address), sk_str(c->address), err);
    }
    store_close(store);
    return r;
}

/* ---- the folder ---- */

static int copy_files(const char *from, const char *to, struct sk_err *err)
{
    for (size_t i = 0; i < backup_nfiles; i++) {
        const struct backup_file *file = &backup_files[i];
        struct sk_buf bytes = SK_BUF_INIT;
        char path[640];
        int r;
        if (strcmp(file->name, "node.json") == 0) {
            continue; /* it is written anew, and last */
        }
        (void)snprintf(path, sizeof(path), "%s/%s", from, file->name);
        r = sys_file_read(path, BACKUP_FILE_BYTES_MAX, &bytes, err);
        if (r == 0) {
            (void)snprintf(path, sizeof(path), "%s/%s", to, file->name);
            r = sys_file_write(path, sk_buf_str(&bytes), file->mode, err);
        } else if (r == SK_ERR_NOT_FOUND && file->optional) {
            sk_err_clear(err);
            r = 0;
        }
        seal_wipe(&bytes);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Opens the keys by the code, and leaves their unseal key as a file: there is one control node. */
static int open_vault(const struct folders *f, const char *cluster, const struct seal_code *code,
                      struct sk_err *err)
{
    struct vault *vault = NULL;
    int r = vault_recover(f->control, cluster, code, &vault, err);

    r = r < 0 ? r : vault_join(vault, err);
    vault_free(vault);
    return r;
}

/* What was begun and did not become a server must not stand in the way of the next try. */
static void drop_begun(const struct folders *f)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "unseal.key"};
    char path[640];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", f->control, names[i]);
        (void)unlink(path); /* what cannot be removed is named by the next restore */
    }
}

static int read_config(struct restore *restore, const char *from, char *ret_address, size_t size,
                       struct sk_err *err)
{
    struct daemon_config *c = &restore->node;
    struct sockaddr_storage numeric;

    if (daemon_config_load(from, c, err) < 0) {
        return err->code;
    }
    (void)snprintf(c->dir, sizeof(c->dir), "%s", restore->dir);
    (void)snprintf(ret_address, size, "%s", c->address);
    if (restore->address) {
        (void)snprintf(c->address, sizeof(c->address), "%s", restore->address);
        if (net_address_parse(sk_str(c->address), c->channel_port, &numeric, NULL) < 0) {
            return sk_err_set(err, SK_ERR_USAGE, "--address: '%s' is no IP address", c->address);
        }
    }
    if (restore->listen) {
        (void)snprintf(c->listen, sizeof(c->listen), "%s", restore->listen);
    }
    c->is_control = true;
    c->ncontrols = 1;
    (void)snprintf(c->controls[0], sizeof(c->controls[0]), "%s:%u", c->address, c->channel_port);
    return 0;
}

static int restore_from(struct restore *restore, const char *from, struct sk_err *err)
{
    struct daemon_config *c = &restore->node;
    char old_address[256];
    struct folders to;
    int r = read_config(restore, from, old_address, sizeof(old_address), err);

    folders_name(restore->dir, &to);
    if (r < 0) {
        return r;
    }
    r = folders_make(c, &to, true, err);
    r = r < 0 ? r : copy_files(from, restore->dir, err);
    r = r < 0 ? r : open_vault(&to, c->cluster, restore->code, err);
    r = r < 0 ? r : restore_state(&to, from, c, old_address, err);
    r = r < 0 ? r : folders_give(c, &to, true, err);
    r = r < 0 ? r : daemon_config_save(c, err);
    if (r < 0) {
        drop_begun(&to);
    }
    return r;
}

int backup_restore(struct restore *restore, struct sk_err *err)
{
    char from[512], path[640];
    struct folders to;
    int r;

    folders_name(restore->dir, &to);
    if (folders_refuse_server(restore->dir, err) < 0 || folders_refuse_state(&to, err) < 0) {
        return err->code;
    }
    (void)snprintf(from, sizeof(from), "%s.restore.XXXXXX", restore->dir);
    if (!mkdtemp(from)) {
        return sk_err_errno(err, errno, "make folder '%s'", from);
    }
    (void)snprintf(path, sizeof(path), "%s/control", from);
    r = sys_mkdirs(path, 0700, err);
    (void)snprintf(path, sizeof(path), "%s/identity", from);
    r = r < 0 ? r : sys_mkdirs(path, 0700, err);
    r = r < 0 ? r : unpack_file(restore, from, err);
    r = r < 0 ? r : restore_from(restore, from, err);
    (void)nftw(from, remove_one, 8,
               FTW_DEPTH | FTW_PHYS | FTW_MOUNT); /* what stays is named .restore.* */
    return r;
}
