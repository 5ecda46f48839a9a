/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_admin.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/etcd_http.h"
#include "store/etcd_json.h"
#include "sys/clock.h"

#define ANSWER_BYTES_MAX (1024 * 1024)
#define CHUNK_BYTES_MAX (1024 * 1024)
#define SAVE_BYTES_MAX (16LL * 1024 * 1024 * 1024)
#define ATTEMPT_MS_MAX 60000

struct store_etcd_admin {
    struct etcd_http *http;
    int64_t deadline_ms;
    struct sk_buf body, answer;
    struct sk_arena *arena;    /* of the last answer */
    enum etcd_refusal refusal; /* the last, where there was one */
};

int store_etcd_admin_new(const struct store_etcd *options, struct store_etcd_admin **ret,
                         struct sk_err *err)
{
    struct store_etcd_admin *admin = sk_xcalloc(1, sizeof(*admin));
    struct store_etcd own = *options;
    int rc;

    admin->deadline_ms = own.deadline_ms > 0 ? own.deadline_ms : STORE_ETCD_DEADLINE_MS;
    /* what is asked here may take its time in silence */
    own.attempt_ms = admin->deadline_ms < ATTEMPT_MS_MAX ? admin->deadline_ms : ATTEMPT_MS_MAX;
    rc = etcd_http_new(&own, &admin->http, err);
    if (rc < 0) {
        free(admin);
        return rc;
    }
    *ret = admin;
    return 0;
}

void store_etcd_admin_free(struct store_etcd_admin *admin)
{
    if (admin) {
        etcd_http_free(admin->http);
        sk_buf_release(&admin->body);
        sk_buf_release(&admin->answer);
        sk_arena_free(admin->arena);
        free(admin);
    }
}

/* --- asking ---------------------------------------------------------------------------------- */

static void begin_body(struct store_etcd_admin *admin, struct sk_jw *w)
{
    sk_buf_clear(&admin->body);
    sk_jw_init(w, &admin->body);
    sk_jw_obj(w);
}

/* One request to the current member. *ret_open: it may have had its effect although it failed. */
static int ask_one(struct store_etcd_admin *admin, const char *path, int64_t until_ms,
                   const struct sk_node **ret_root, bool *ret_open, struct sk_err *err)
{
    static const struct sk_limits limits = {.bytes_max = ANSWER_BYTES_MAX, .depth_max = 16};
    struct sk_err why = {0};
    long status = 0;
    enum etcd_sent sent = etcd_http_post(admin->http, path, sk_buf_str(&admin->body), until_ms,
                                         ANSWER_BYTES_MAX, &admin->answer, &status, err);

    *ret_open = sent == ETCD_OPEN;
    if (sent != ETCD_ANSWERED) {
        return SK_ERR_UNAVAILABLE;
    }
    if (status != 200) {
        admin->refusal = etcd_read_refusal(sk_buf_str(&admin->answer), status, err);
        *ret_open = admin->refusal == ETCD_AGAIN;
        return SK_ERR_UNAVAILABLE;
    }
    sk_arena_free(admin->arena);
    admin->arena = sk_arena_new();
    if (sk_json_read(admin->arena, "etcd's answer", sk_buf_str(&admin->answer), &limits, ret_root,
                     &why) < 0 ||
        (*ret_root)->kind != SK_MAP) {
        *ret_open = true;
        return sk_err_set(err, SK_ERR_PROTOCOL, "etcd's answer is no object: %.200s", why.msg);
    }
    return 0;
}

/* Of one member, or of whichever answers. What changes something is not sent to a second member
 * when the first may have done it. */
static int ask(struct store_etcd_admin *admin, const char *path, bool any, bool changes,
               const struct sk_node **ret_root, struct sk_err *err)
{
    int64_t until_ms = sys_now_ms() + admin->deadline_ms;
    size_t count = any ? etcd_http_count(admin->http) : 1;
    struct sk_err why = {0};
    int rc = SK_ERR_UNAVAILABLE;

    for (size_t i = 0; i < count && rc < 0; i++) {
        /* the others' share stays theirs */
        int64_t now = sys_now_ms();
        bool open = false;
        rc = ask_one(admin, path, now + (until_ms - now) / (int64_t)(count - i), ret_root, &open,
                     &why);
        if (rc < 0 && changes && open) {
            return sk_err_set(err, SK_ERR_TIMEOUT, "whether etcd did it is not known: %.300s",
                              why.msg);
        }
        if (rc < 0 && why.code != SK_ERR_UNAVAILABLE && why.code != SK_ERR_TIMEOUT) {
            break; /* it refuses, and so would the others */
        }
        if (rc < 0 && any) {
            etcd_http_next(admin->http);
        }
    }
    if (rc < 0) {
        rc = why.code == SK_ERR_TIMEOUT ? SK_ERR_UNAVAILABLE : why.code;
        sk_err_set(err, rc, "%s", why.msg);
    }
    return rc;
}

/* --- reading --------------------------------------------------------------------------------- */

static int broken(struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_PROTOCOL, "etcd's answer is not what was asked for");
}

/* 64 bits without a sign, as text. */
static int read_id(const struct sk_node *map, const char *name, char ret[STORE_ETCD_ID_SIZE],
                   struct sk_err *err)
{
    struct sk_str text = sk_map_str(map, name, SK_STR_NULL);

    if (text.len >= STORE_ETCD_ID_SIZE) {
        return broken(err);
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return broken(err);
        }
    }
    memset(ret, 0, STORE_ETCD_ID_SIZE);
    if (text.len) {
        memcpy(ret, text.ptr, text.len);
    }
    return 0;
}

static void read_text(struct sk_str text, char *ret, size_t size)
{
    text = sk_str_head(text, size - 1);
    memset(ret, 0, size);
    if (text.len) {
        memcpy(ret, text.ptr, text.len);
    }
}

static int read_status(const struct sk_node *root, struct store_etcd_status *ret,
                       struct sk_err *err)
{
    const struct sk_node *header = sk_map_get(root, SK_STR("header"));
    const struct {
        const char *name;
        int64_t *at;
    } numbers[] = {
        {"dbSize", &ret->db_bytes},      {"dbSizeInUse", &ret->db_bytes_used},
        {"raftIndex", &ret->raft_index}, {"raftAppliedIndex", &ret->raft_applied},
        {"raftTerm", &ret->raft_term},
    };
    int rc;

    if (!header || header->kind != SK_MAP) {
        return broken(err);
    }
    rc = read_id(header, "member_id", ret->member, err);
    if (rc == 0) {
        rc = read_id(root, "leader", ret->leader, err);
    }
    if (rc == 0) {
        rc = etcd_int_of(header, "revision", &ret->revision, err);
    }
    for (size_t i = 0; rc == 0 && i < SK_ARRAY_LEN(numbers); i++) {
        rc = etcd_int_of(root, numbers[i].name, numbers[i].at, err);
    }
    if (rc == 0 && ret->member[0] == '\0') {
        rc = broken(err);
    }
    if (strcmp(ret->leader, "0") == 0) {
        ret->leader[0] = '\0';
    }
    read_text(sk_map_str(root, "version", SK_STR_NULL), ret->version, sizeof(ret->version));
    ret->learner = sk_map_bool(root, "isLearner", false);
    return rc;
}

int store_etcd_status(struct store_etcd_admin *admin, size_t at, struct store_etcd_status *ret,
                      struct sk_err *err)
{
    struct store_etcd_status status = {0};
    const struct sk_node *root;
    struct sk_jw w;
    int rc;

    begin_body(admin, &w);
    sk_jw_obj_end(&w);
    etcd_http_set(admin->http, at);
    rc = ask(admin, "/v3/maintenance/status", false, false, &root, err);
    if (rc == 0) {
        rc = read_status(root, &status, err);
    }
    if (rc == 0) {
        *ret = status;
    }
    return rc;
}

int store_etcd_defragment(struct store_etcd_admin *admin, size_t at, struct sk_err *err)
{
    const struct sk_node *root;
    struct sk_jw w;

    begin_body(admin, &w);
    sk_jw_obj_end(&w);
    etcd_http_set(admin->http, at);
    return ask(admin, "/v3/maintenance/defragment", false, true, &root, err);
}

int store_etcd_compact(struct store_etcd_admin *admin, size_t at, int64_t keep, struct sk_err *err)
{
    struct store_etcd_status status;
    struct sk_err why = {0};
    const struct sk_node *root;
    struct sk_jw w;
    char number[24];
    int rc = store_etcd_status(admin, at, &status, err);

    if (rc < 0 || status.revision - keep < 1) {
        return rc;
    }
    (void)snprintf(number, sizeof(number), "%lld", (long long)(status.revision - keep));
    begin_body(admin, &w);
    sk_jw_kcstr(&w, "revision", number);
    sk_jw_kbool(&w, "physical", true);
    sk_jw_obj_end(&w);
    etcd_http_set(admin->http, at);
    admin->refusal = ETCD_AGAIN;
    rc = ask(admin, "/v3/kv/compaction", false, true, &root, &why);
    if (rc < 0 && admin->refusal == ETCD_COMPACTED) {
        return 0;
    }
    if (rc < 0) {
        *err = why;
    }
    return rc;
}

int store_etcd_lead(struct store_etcd_admin *admin, size_t at, const char *to, struct sk_err *err)
{
    const struct sk_node *root;
    struct sk_jw w;

    begin_body(admin, &w);
    sk_jw_kcstr(&w, "targetID", to);
    sk_jw_obj_end(&w);
    etcd_http_set(admin->http, at);
    return ask(admin, "/v3/maintenance/transfer-leadership", false, true, &root, err);
}

/* --- alarms ---------------------------------------------------------------------------------- */

static const char *const alarm_names[] = {
    [STORE_ETCD_NOSPACE] = "NOSPACE", [STORE_ETCD_DAMAGED] = "CORRUPT"};

static int read_alarm(const struct sk_node *node, struct store_etcd_alarm *ret, struct sk_err *err)
{
    struct sk_str kind;
    int rc;

    if (node->kind != SK_MAP) {
        return broken(err);
    }
    rc = read_id(node, "memberID", ret->member, err);
    kind = sk_map_str(node, "alarm", SK_STR_NULL);
    for (size_t i = 0; rc == 0 && i < SK_ARRAY_LEN(alarm_names); i++) {
        if (sk_str_is(kind, alarm_names[i])) {
            ret->kind = (enum store_etcd_alarm_kind)i;
            return 0;
        }
    }
    return rc < 0 ? rc : broken(err);
}

int store_etcd_alarms(struct store_etcd_admin *admin,
                      struct store_etcd_alarm ret[STORE_ETCD_ALARMS_MAX], size_t *ret_count,
                      struct sk_err *err)
{
    struct store_etcd_alarm alarms[STORE_ETCD_ALARMS_MAX];
    const struct sk_node *root;
    const struct sk_node *list;
    struct sk_jw w;
    size_t count;
    int rc;

    begin_body(admin, &w);
    sk_jw_kcstr(&w, "action", "GET");
    sk_jw_obj_end(&w);
    rc = ask(admin, "/v3/maintenance/alarm", true, false, &root, err);
    if (rc < 0) {
        return rc;
    }
    list = sk_map_seq(root, "alarms");
    count = list ? list->count : 0;
    if (count > STORE_ETCD_ALARMS_MAX) {
        return broken(err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_alarm(&list->u.items[i], &alarms[i], err);
    }
    if (rc == 0) {
        memcpy(ret, alarms, count * sizeof(*ret));
        *ret_count = count;
    }
    return rc;
}

int store_etcd_disarm(struct store_etcd_admin *admin, const struct store_etcd_alarm *alarm,
                      struct sk_err *err)
{
    const struct sk_node *root;
    struct sk_jw w;

    begin_body(admin, &w);
    sk_jw_kcstr(&w, "action", "DEACTIVATE");
    sk_jw_kcstr(&w, "memberID", alarm->member);
    sk_jw_kcstr(&w, "alarm", alarm_names[alarm->kind]);
    sk_jw_obj_end(&w);
    return ask(admin, "/v3/maintenance/alarm", true, true, &root, err);
}

/* --- members --------------------------------------------------------------------------------- */

static struct sk_str first_of(const struct sk_node *map, const char *name)
{
    const struct sk_node *list = sk_map_seq(map, name);
    return list && list->count > 0 && list->u.items[0].kind == SK_STRING ? list->u.items[0].u.text
                                                                         : SK_STR_NULL;
}

static int read_member(const struct sk_node *node, struct store_etcd_member *ret,
                       struct sk_err *err)
{
    int rc;

    if (node->kind != SK_MAP) {
        return broken(err);
    }
    rc = read_id(node, "ID", ret->id, err);
    if (rc == 0 && ret->id[0] == '\0') {
        rc = broken(err);
    }
    read_text(sk_map_str(node, "name", SK_STR_NULL), ret->name, sizeof(ret->name));
    read_text(first_of(node, "peerURLs"), ret->peer_url, sizeof(ret->peer_url));
    read_text(first_of(node, "clientURLs"), ret->client_url, sizeof(ret->client_url));
    ret->learner = sk_map_bool(node, "isLearner", false);
    return rc;
}

int store_etcd_members(struct store_etcd_admin *admin,
                       struct store_etcd_member ret[STORE_ETCD_MEMBERS_MAX], size_t *ret_count,
                       struct sk_err *err)
{
    struct store_etcd_member members[STORE_ETCD_MEMBERS_MAX];
    const struct sk_node *root;
    const struct sk_node *list;
    struct sk_jw w;
    int rc;

    begin_body(admin, &w);
    sk_jw_obj_end(&w);
    rc = ask(admin, "/v3/cluster/member/list", true, false, &root, err);
    if (rc < 0) {
        return rc;
    }
    list = sk_map_seq(root, "members");
    if (!list || list->count == 0 || list->count > STORE_ETCD_MEMBERS_MAX) {
        return broken(err);
    }
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        rc = read_member(&list->u.items[i], &members[i], err);
    }
    if (rc == 0) {
        memcpy(ret, members, list->count * sizeof(*ret));
        *ret_count = list->count;
    }
    return rc;
}

int store_etcd_add_learner(struct store_etcd_admin *admin, const char *peer_url,
                           char ret_id[STORE_ETCD_ID_SIZE], struct sk_err *err)
{
    struct store_etcd_member member;
    const struct sk_node *root;
    const struct sk_node *node;
    struct sk_jw w;
    int rc;

    begin_body(admin, &w);
    sk_jw_key(&w, "peerURLs");
    sk_jw_arr(&w);
    sk_jw_cstr(&w, peer_url);
    sk_jw_arr_end(&w);
    sk_jw_kbool(&w, "isLearner", true);
    sk_jw_obj_end(&w);
    rc = ask(admin, "/v3/cluster/member/add", true, true, &root, err);
    if (rc < 0) {
        return rc;
    }
    node = sk_map_get(root, SK_STR("member"));
    rc = node ? read_member(node, &member, err) : broken(err);
    if (rc == 0) {
        memcpy(ret_id, member.id, sizeof(member.id));
    }
    return rc;
}

static int change_member(struct store_etcd_admin *admin, const char *path, const char *id,
                         struct sk_err *err)
{
    const struct sk_node *root;
    struct sk_jw w;

    begin_body(admin, &w);
    sk_jw_kcstr(&w, "ID", id);
    sk_jw_obj_end(&w);
    return ask(admin, path, true, true, &root, err);
}

int store_etcd_promote(struct store_etcd_admin *admin, const char *id, struct sk_err *err)
{
    return change_member(admin, "/v3/cluster/member/promote", id, err);
}

int store_etcd_remove(struct store_etcd_admin *admin, const char *id, struct sk_err *err)
{
    return change_member(admin, "/v3/cluster/member/remove", id, err);
}

/* --- saving ---------------------------------------------------------------------------------- */

/* What comes: the database, then 32 bytes, the SHA-256 of all before them. So the last 32 bytes are
 * always kept back. */
struct save {
    int fd;
    crypto_hash_sha256_state hash;
    unsigned char tail[crypto_hash_sha256_BYTES];
    size_t ntail;
    int64_t bytes;
    bool done; /* nothing remains, says etcd */
};

static int write_all(int fd, const unsigned char *bytes, size_t len, struct sk_err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR) {
            return sk_err_errno(err, errno, "write a snapshot of etcd");
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int take_bytes(struct save *save, struct sk_str bytes, struct sk_err *err)
{
    struct sk_buf all = SK_BUF_INIT;
    size_t keep;
    int rc;

    save->bytes += (int64_t)bytes.len;
    if (save->bytes > SAVE_BYTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "a snapshot of etcd of more than %lld bytes",
                          SAVE_BYTES_MAX);
    }
    sk_buf_add(&all, save->tail, save->ntail);
    sk_buf_addstr(&all, bytes);
    keep = all.len < sizeof(save->tail) ? all.len : sizeof(save->tail);
    (void)crypto_hash_sha256_update(&save->hash, (unsigned char *)all.ptr, all.len - keep);
    rc = write_all(save->fd, (unsigned char *)all.ptr, all.len - keep, err);
    if (keep) {
        memcpy(save->tail, all.ptr + all.len - keep, keep);
    }
    save->ntail = keep;
    sk_buf_release(&all);
    return rc;
}

static int take_line(struct save *save, struct sk_str line, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    const struct sk_node *result = NULL;
    struct sk_str bytes = SK_STR_NULL;
    int64_t remaining = 0;
    int rc = 0;

    if (sk_json_read(arena, "etcd's answer", line, NULL, &root, NULL) == 0 &&
        root->kind == SK_MAP) {
        result = sk_map_get(root, SK_STR("result"));
    }
    if (!result || result->kind != SK_MAP) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "etcd breaks a snapshot off");
    }
    if (rc == 0) {
        rc = etcd_bytes_of(arena, result, "blob", CHUNK_BYTES_MAX, &bytes, err);
    }
    if (rc == 0) {
        rc = etcd_int_of(result, "remaining_bytes", &remaining, err);
    }
    if (rc == 0) {
        rc = take_bytes(save, bytes, err);
    }
    save->done = remaining == 0;
    sk_arena_free(arena);
    return rc;
}

/* Until the stream ends; each piece must come within the deadline. */
static int take_stream(struct store_etcd_admin *admin, struct etcd_stream *stream,
                       struct save *save, struct sk_err *err)
{
    struct sk_buf *in = etcd_stream_in(stream);
    struct sk_err end = {0};
    int rc = 0;
    int more = 1;

    while (rc == 0 && more > 0) {
        char *newline;
        more =
            etcd_stream_wait(stream, sys_now_ms() + admin->deadline_ms, 2 * CHUNK_BYTES_MAX, &end);
        while (rc == 0 && in->len > 0 && (newline = memchr(in->ptr, '\n', in->len))) {
            size_t len = (size_t)(newline - in->ptr);
            rc = len ? take_line(save, (struct sk_str){in->ptr, len}, err) : 0;
            sk_buf_consume(in, len + 1);
        }
    }
    if (rc == 0 && (more == 0 || !save->done || in->len > 0)) {
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "a snapshot of etcd is not whole: %.300s",
                        more == 0 ? "nothing comes any more" : end.msg);
    }
    return rc;
}

static int check_hash(struct save *save, struct sk_err *err)
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256_final(&save->hash, hash);
    if (save->ntail != sizeof(hash) || memcmp(hash, save->tail, sizeof(hash)) != 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "a snapshot of etcd does not have its checksum");
    }
    /* etcdctl wants it too */
    return write_all(save->fd, save->tail, sizeof(save->tail), err);
}

static int sync_folder(const char *path, struct sk_err *err)
{
    sk_autofree char *folder = sk_xstrdup(path);
    char *slash = strrchr(folder, '/');
    int rc = 0;
    int fd;

    if (slash) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        rc = sk_err_errno(err, errno, "sync the folder of '%s'", path);
    }
    if (fd >= 0) {
        (void)close(fd); /* only read through */
    }
    return rc;
}

static int save_to(struct store_etcd_admin *admin, size_t at, int fd, struct sk_err *err)
{
    struct save save = {.fd = fd};
    struct etcd_stream *stream;
    int rc;

    (void)crypto_hash_sha256_init(&save.hash);
    stream = etcd_stream_open(admin->http, at, "/v3/maintenance/snapshot", SK_STR("{}"));
    rc = take_stream(admin, stream, &save, err);
    etcd_stream_close(stream);
    if (rc == 0) {
        rc = check_hash(&save, err);
    }
    if (rc == 0 && fsync(fd) < 0) {
        rc = sk_err_errno(err, errno, "write a snapshot of etcd");
    }
    return rc;
}

int store_etcd_save(struct store_etcd_admin *admin, size_t at, const char *path, struct sk_err *err)
{
    struct sk_buf temp = SK_BUF_INIT;
    int rc;
    int fd;

    sk_buf_printf(&temp, "%s.tmp.XXXXXX", path);
    fd = mkostemp(temp.ptr, O_CLOEXEC); /* 0600 */
    if (fd < 0) {
        rc = sk_err_errno(err, errno, "create '%s'", temp.ptr);
        sk_buf_release(&temp);
        return rc;
    }
    rc = save_to(admin, at, fd, err);
    (void)close(fd); /* synced */
    if (rc == 0 && rename(temp.ptr, path) < 0) {
        rc = sk_err_errno(err, errno, "rename '%s' to '%s'", temp.ptr, path);
    }
    if (rc < 0) {
        (void)unlink(temp.ptr); /* ours, and of no use */
    } else {
        rc = sync_folder(path, err);
    }
    sk_buf_release(&temp);
    return rc;
}
