/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/move.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/etcd_admin.h"
#include "sys/file.h"

#define RECORD "/skerry/v1/control"
#define MOVING "/skerry/v1/moving"
#define SETTLE_TRIES 3
#define TRY_MS 3000
#define PATH_SIZE 1024

static void path_of(char *out, const char *dir, const char *name)
{
    (void)snprintf(out, PATH_SIZE, "%s/%s", dir, name);
}

/* ---- the record ---- */

/* What it says under `key`; "" also where there is no record. */
static int record_says(struct store *store, const char *key, struct sk_arena *arena,
                       struct sk_str *ret, struct sk_err *err)
{
    const struct sk_node *root = NULL;
    struct store_record record;
    struct sk_err why = {0};
    int rc = store_get(store, SK_STR(RECORD), arena, &record, &why);

    *ret = SK_STR("");
    if (rc == SK_ERR_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        rc = sk_json_read(arena, "control", record.value, NULL, &root, &why);
    }
    if (rc < 0) {
        *err = why;
        return rc;
    }
    *ret = root->kind == SK_MAP ? sk_map_str(root, key, SK_STR("")) : SK_STR("");
    return 0;
}

static int put(struct store *store, const struct store_revision *expect, const char *key,
               struct sk_str value, struct store_revision *ret, struct sk_err *err)
{
    struct store_op op = {STORE_PUT, sk_str(key), value};
    struct store_txn txn = {.expect_id = expect ? expect->id : NULL,
                            .expect_number = expect ? expect->number : -1,
                            .ops = &op,
                            .nops = 1};
    return store_txn(store, &txn, ret, err);
}

/* A transaction whose answer was lost: whether it took place, by what the record says. */
static int settle(struct store *store, const char *key, struct sk_str want, bool *ret_took_place,
                  struct sk_err *err)
{
    int rc = SK_ERR_TIMEOUT;

    for (int i = 0; i < SETTLE_TRIES && rc < 0; i++) {
        struct sk_arena *arena = sk_arena_new();
        struct sk_str have;
        rc = record_says(store, key, arena, &have, err);
        *ret_took_place = rc == 0 && sk_str_eq(have, want);
        sk_arena_free(arena);
    }
    return rc;
}

/* ---- to etcd ---- */

static void form_make(const struct move *m, struct state_form *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->etcd = true;
    for (size_t i = 0; i < m->nendpoints && i < STORE_ETCD_ENDPOINTS_MAX; i++) {
        (void)snprintf(ret->endpoints[ret->nendpoints++], STATE_URL_SIZE, "%.*s",
                       SK_PRI(m->endpoints[i]));
    }
    (void)snprintf(ret->root, sizeof(ret->root), "/skerry");
    (void)snprintf(ret->ca, sizeof(ret->ca), "etcd/ca.pem");
    (void)snprintf(ret->cert, sizeof(ret->cert), "etcd/member.pem");
    (void)snprintf(ret->key, sizeof(ret->key), "etcd/member.key");
}

/* The commit point. */
static int commit_etcd(const struct move *m, struct store *etcd, struct sk_err *err)
{
    struct store_revision rev;
    struct sk_err why = {0};
    bool took_place = false;
    int rc = store_revision(etcd, &rev, err);

    rc = rc < 0 ? rc : put(etcd, &rev, RECORD, m->record, &rev, &why);
    if (rc == SK_ERR_TIMEOUT || rc == SK_ERR_IO) {
        rc = settle(etcd, "attempt", m->attempt, &took_place, &why);
        rc = rc == 0 && !took_place ? SK_ERR_UNAVAILABLE : rc;
    }
    if (rc < 0 && why.code) {
        *err = why;
    }
    return rc;
}

/* A state that others live by is never written over. One that was moved away from here, or was only
 * copied by a try before, is nobody's. */
static int refuse_foreign(struct store *etcd, struct sk_str id, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_str store = SK_STR("");
    struct sk_str token = SK_STR("");
    struct sk_str moved_to = SK_STR("");
    int rc = record_says(etcd, "store", arena, &store, err);

    rc = rc < 0 ? rc : record_says(etcd, "token", arena, &token, err);
    rc = rc < 0 ? rc : record_says(etcd, "moved_to", arena, &moved_to, err);
    if (rc == 0 && sk_str_is(store, "etcd") && moved_to.len == 0 && !sk_str_eq(token, id)) {
        (void)sk_err_set(err, SK_ERR_INPUT, "that etcd holds the state of a cluster already");
        rc = sk_err_fix(err, "if nobody lives by it any more: etcdctl del --prefix /skerry/");
    }
    sk_arena_free(arena);
    return rc;
}

static int try_members(const struct store_etcd *options, struct sk_err *err)
{
    struct store_etcd_admin *admin = NULL;
    int rc = store_etcd_admin_new(options, &admin, err);

    for (size_t i = 0; i < options->nendpoints && rc == 0; i++) {
        struct store_etcd_status status;
        rc = store_etcd_status(admin, i, &status, err);
        if (rc == 0 && status.leader[0] == '\0') {
            rc = sk_err_set(err, SK_ERR_INPUT, "'%s' knows no leader: it has no majority",
                            options->endpoints[i]);
        }
    }
    store_etcd_admin_free(admin);
    return rc;
}

int move_try(const char *dir, const struct state_form *form, struct sk_err *err)
{
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd options;
    struct store *etcd = NULL;
    struct sk_err why = {0};
    int rc;

    state_form_options(dir, form, paths, urls, &options);
    options.attempt_ms = options.deadline_ms = TRY_MS;
    rc = try_members(&options, &why);
    rc = rc < 0 ? rc : state_form_open(dir, form, TRY_MS, &etcd, &why);
    rc = rc < 0 ? rc : refuse_foreign(etcd, SK_STR(""), &why);
    store_close(etcd);
    if (rc < 0) {
        (void)sk_err_set(err, SK_ERR_INPUT, "etcd cannot be grown to: %s", why.msg);
        (void)sk_err_fix(err, "%s",
                         why.fix[0] ? why.fix
                                    : "see that --etcd, --etcd-ca, --etcd-cert and --etcd-key are "
                                      "those of an etcd that runs; nothing was changed");
    }
    return rc < 0 ? SK_ERR_INPUT : 0;
}

static int copy_to_etcd(const struct move *m, struct store *from, struct store *etcd,
                        struct sk_err *err)
{
    char path[PATH_SIZE];
    int rc;

    path_of(path, m->dir, "moving.db");
    (void)unlink(path); /* of a try before */
    rc = store_snapshot(from, path, err);
    rc = rc < 0 ? rc : store_restore(etcd, path, err);
    rc = rc < 0 ? rc : commit_etcd(m, etcd, err);
    (void)unlink(path); /* else the next try removes it */
    return rc;
}

static enum control_move_result to_etcd(const struct move *m, struct store *from,
                                        struct state_form *ret_form, struct store **ret_fresh,
                                        struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct state_form form;
    struct store *etcd = NULL;
    struct store_revision rev;
    struct sk_str token = SK_STR("");
    struct sk_str store = SK_STR("");
    struct sk_str fence =
        sk_arena_printf(arena, "{\"v\":1,\"attempt\":\"%.*s\"}", SK_PRI(m->attempt));
    enum control_move_result result = CONTROL_MOVE_FAILED;
    int rc;

    form_make(m, &form);
    rc = state_form_open(m->dir, &form, 0, &etcd, err);
    rc = rc < 0 ? rc : refuse_foreign(etcd, m->id, err);
    /* whatever a try before has under way compares the revision, and fails from here on */
    rc = rc < 0 ? rc : put(etcd, NULL, MOVING, fence, &rev, err);
    rc = rc < 0 ? rc : record_says(etcd, "token", arena, &token, err);
    rc = rc < 0 ? rc : record_says(etcd, "store", arena, &store, err);
    if (rc == 0 && !(sk_str_eq(token, m->id) && sk_str_is(store, "etcd"))) {
        if (m->give_up) {
            result = CONTROL_MOVE_OFF;
            rc = SK_ERR_CANCELLED;
        } else {
            rc = copy_to_etcd(m, from, etcd, err);
        }
    }
    rc = rc < 0 ? rc : state_form_write(m->dir, &form, err);
    if (rc == 0) {
        result = CONTROL_MOVE_DONE;
        *ret_form = form;
        *ret_fresh = etcd;
    } else {
        store_close(etcd);
    }
    sk_arena_free(arena);
    return result;
}

void move_put_aside(const char *dir, struct sk_str id)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < SK_ARRAY_LEN(ends); i++) {
        char from[PATH_SIZE], to[PATH_SIZE];
        (void)snprintf(from, sizeof(from), "%s/state.db%s", dir, ends[i]);
        (void)snprintf(to, sizeof(to), "%s/state.db.moved-%.*s%s", dir, SK_PRI(id), ends[i]);
        (void)rename(from, to); /* store.json decides; this is for people */
    }
}

/* ---- to SQLite ---- */

static int sync_folder(const char *dir, struct sk_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? sk_err_errno(err, errno, "sync '%s'", dir) : 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static void drop_database(const char *dir)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm"};
    char path[PATH_SIZE];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        path_of(path, dir, names[i]);
        (void)unlink(path); /* what stays is told when it is opened */
    }
}

/* A whole database beside the place where it is opened, then put there: it is not the truth yet. */
static int make_database(const struct move *m, struct store *from, struct sk_err *err)
{
    char snapshot[PATH_SIZE], folder[600], made[PATH_SIZE], place[PATH_SIZE];
    struct store *store = NULL;
    struct store_revision rev;
    int rc;

    path_of(snapshot, m->dir, "moving.db");
    (void)snprintf(folder, sizeof(folder), "%s/moving", m->dir);
    path_of(made, folder, "state.db");
    path_of(place, m->dir, "state.db");
    (void)unlink(snapshot);
    drop_database(folder);
    drop_database(m->dir);
    rc = sys_mkdirs(folder, 0700, err);
    rc = rc < 0 ? rc : store_snapshot(from, snapshot, err);
    rc = rc < 0 ? rc : store_open_sqlite(folder, &store, err);
    rc = rc < 0 ? rc : store_restore(store, snapshot, err);
    rc = rc < 0 ? rc : put(store, NULL, RECORD, m->record, &rev, err);
    store_close(store); /* the last one to close leaves one file */
    if (rc == 0 && rename(made, place) != 0) {
        rc = sk_err_errno(err, errno, "rename '%s'", made);
    }
    rc = rc < 0 ? rc : sync_folder(m->dir, err);
    (void)unlink(snapshot);
    drop_database(folder);
    (void)rmdir(folder); /* else the next try removes it */
    return rc;
}

/* The commit point: nothing was written since the copy, and nothing is from here on. */
static int commit_mark(const struct move *m, struct store *from, const struct store_revision *at,
                       struct sk_err *err)
{
    struct store_revision rev;
    struct sk_err why = {0};
    bool took_place = false;
    int rc = put(from, at, RECORD, m->mark, &rev, &why);

    if (rc == SK_ERR_TIMEOUT || rc == SK_ERR_IO) {
        rc = settle(from, "attempt", m->attempt, &took_place, &why);
        rc = rc == 0 && !took_place ? SK_ERR_UNAVAILABLE : rc;
    }
    if (rc < 0) {
        *err = why;
    }
    return rc;
}

/* The file that was made for this very move. */
static int open_made(const struct move *m, struct store **ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct store *store = NULL;
    struct sk_str attempt = SK_STR("");
    int rc = store_open_sqlite(m->dir, &store, err);

    rc = rc < 0 ? rc : record_says(store, "attempt", arena, &attempt, err);
    if (rc == 0 && !sk_str_eq(attempt, m->attempt)) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "'%s/state.db' is not the state that was moved there",
                        m->dir);
    }
    if (rc == 0) {
        *ret = sk_steal(store);
    }
    store_close(store);
    sk_arena_free(arena);
    return rc;
}

static enum control_move_result to_sqlite(const struct move *m, struct store *from,
                                          struct state_form *ret_form, struct store **ret_fresh,
                                          struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct state_form form = {0};
    struct store *fresh = NULL;
    struct store_revision at;
    struct sk_str moved_to = SK_STR("");
    enum control_move_result result = CONTROL_MOVE_FAILED;
    int rc = store_revision(from, &at, err);

    rc = rc < 0 ? rc : record_says(from, "moved_to", arena, &moved_to, err);
    if (rc == 0 && moved_to.len == 0) {
        if (m->give_up) {
            result = CONTROL_MOVE_OFF;
            rc = SK_ERR_CANCELLED;
        }
        rc = rc < 0 ? rc : make_database(m, from, err);
        rc = rc < 0 ? rc : commit_mark(m, from, &at, err);
    } else if (rc == 0 && !sk_str_is(moved_to, m->node)) {
        rc = sk_err_set(err, SK_ERR_CONFLICT, "the state went to node '%.*s'", SK_PRI(moved_to));
    }
    rc = rc < 0 ? rc : open_made(m, &fresh, err);
    rc = rc < 0 ? rc : state_form_write(m->dir, &form, err);
    if (rc == 0) {
        result = CONTROL_MOVE_DONE;
        *ret_form = form;
        *ret_fresh = fresh;
    } else {
        store_close(fresh);
    }
    sk_arena_free(arena);
    return result;
}

enum control_move_result move_run(const struct move *move, struct store *from,
                                  struct state_form *ret_form, struct store **ret_fresh,
                                  struct sk_err *err)
{
    return move->to_etcd ? to_etcd(move, from, ret_form, ret_fresh, err)
                         : to_sqlite(move, from, ret_form, ret_fresh, err);
}

/* ---- members of etcd ---- */

static const struct store_etcd_member *find(const struct store_etcd_member *list, size_t count,
                                            struct sk_str url)
{
    for (size_t i = 0; i < count; i++) {
        if (sk_str_is(url, list[i].peer_url)) {
            return &list[i];
        }
    }
    return NULL;
}

int move_member(const char *dir, const struct state_form *form, enum control_etcd_kind kind,
                struct sk_str url, struct sk_err *err)
{
    struct store_etcd_member list[STORE_ETCD_MEMBERS_MAX];
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd_admin *admin = NULL;
    const struct store_etcd_member *m = NULL;
    struct store_etcd options;
    char id[STORE_ETCD_ID_SIZE], text[STATE_URL_SIZE];
    size_t count = 0;
    int rc;

    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(url));
    state_form_options(dir, form, paths, urls, &options);
    rc = store_etcd_admin_new(&options, &admin, err);
    rc = rc < 0 ? rc : store_etcd_members(admin, list, &count, err);
    if (rc == 0) {
        m = find(list, count, url);
        if (kind == CONTROL_ETCD_ADD && !m) {
            rc = store_etcd_add_learner(admin, text, id, err);
        } else if (kind == CONTROL_ETCD_PROMOTE && !m) {
            rc = sk_err_set(err, SK_ERR_NOT_FOUND, "etcd has no member at '%s'", text);
        } else if (kind == CONTROL_ETCD_PROMOTE && m->learner) {
            rc = store_etcd_promote(admin, m->id, err);
        } else if (kind == CONTROL_ETCD_REMOVE && m) {
            rc = store_etcd_remove(admin, m->id, err);
        }
    }
    store_etcd_admin_free(admin);
    return rc;
}
