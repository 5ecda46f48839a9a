/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_json.h"

#include <sodium.h>

#include "base/mem.h"

#define RESPONSES_MAX 4096
#define DEPTH_MAX 16
#define REASON_MAX 200

static const struct sk_limits limits = {
    .bytes_max = ETCD_ANSWER_BYTES_MAX, .depth_max = DEPTH_MAX, .nodes_max = 4 * 1024 * 1024};

/* --- writing --------------------------------------------------------------------------------- */

void etcd_put_bytes(struct sk_jw *w, const char *name, struct sk_str bytes)
{
    size_t size = sodium_base64_encoded_len(bytes.len, sodium_base64_VARIANT_ORIGINAL);
    sk_autofree char *text = sk_xmalloc(size);

    (void)sodium_bin2base64(text, size, (const unsigned char *)(bytes.ptr ? bytes.ptr : ""),
                            bytes.len, sodium_base64_VARIANT_ORIGINAL); /* returns text */
    sk_jw_kcstr(w, name, text);
}

void etcd_put_int(struct sk_jw *w, const char *name, int64_t n)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%lld", (long long)n);
    sk_jw_kcstr(w, name, text);
}

/* --- reading --------------------------------------------------------------------------------- */

static int broken(struct sk_err *err, const char *what)
{
    return sk_err_set(err, SK_ERR_PROTOCOL, "etcd's answer: %s", what);
}

/* Absent is 0; else an integer >= 0, as a text or as a number. */
int etcd_int_of(const struct sk_node *map, const char *name, int64_t *ret, struct sk_err *err)
{
    const struct sk_node *node = sk_map_get(map, sk_str(name));
    uint64_t n = 0;

    if (node) {
        struct sk_str text = node->u.text;
        if ((node->kind != SK_STRING && node->kind != SK_NUMBER) || text.len == 0 ||
            text.len > 19) {
            return broken(err, "a number is none");
        }
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] < '0' || text.ptr[i] > '9') {
                return broken(err, "a number is none");
            }
            n = n * 10 + (uint64_t)(text.ptr[i] - '0');
        }
        if (n > INT64_MAX) {
            return broken(err, "a number is too large");
        }
    }
    *ret = (int64_t)n;
    return 0;
}

int etcd_bytes_of(struct sk_arena *arena, const struct sk_node *map, const char *name,
                  size_t bytes_max, struct sk_str *ret, struct sk_err *err)
{
    const struct sk_node *node = sk_map_get(map, sk_str(name));
    unsigned char *bytes;
    size_t len = 0;

    if (!node) {
        *ret = SK_STR("");
        return 0;
    }
    if (node->kind != SK_STRING || node->u.text.len / 4 * 3 > bytes_max + 3) {
        return broken(err, "bytes are no text, or too many");
    }
    bytes = sk_arena_alloc(arena, node->u.text.len / 4 * 3 + 4);
    if (sodium_base642bin(bytes, node->u.text.len / 4 * 3 + 3, node->u.text.ptr, node->u.text.len,
                          NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        len > bytes_max) {
        return broken(err, "bytes are not base64, or too many");
    }
    bytes[len] = '\0';
    *ret = (struct sk_str){(const char *)bytes, len};
    return 0;
}

static bool bool_of(const struct sk_node *map, const char *name)
{
    return sk_map_bool(map, name, false);
}

static int read_kv(struct sk_arena *arena, const struct sk_node *node, bool deleted,
                   struct etcd_kv *ret, struct sk_err *err)
{
    struct etcd_kv kv;
    int rc;

    if (!node || node->kind != SK_MAP) {
        return broken(err, "a record is none");
    }
    rc = etcd_bytes_of(arena, node, "key", ETCD_KEY_BYTES_MAX, &kv.key, err);
    if (rc == 0) {
        rc = etcd_bytes_of(arena, node, "value", STORE_VALUE_BYTES_MAX, &kv.value, err);
    }
    if (rc == 0) {
        rc = etcd_int_of(node, "create_revision", &kv.create_rev, err);
    }
    if (rc == 0) {
        rc = etcd_int_of(node, "mod_revision", &kv.mod_rev, err);
    }
    if (rc == 0) {
        rc = etcd_int_of(node, "version", &kv.version, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (kv.key.len == 0 || kv.mod_rev < 1) {
        return broken(err, "a record without a key or a revision");
    }
    if (deleted ? kv.value.len > 0
                : kv.create_rev < 1 || kv.create_rev > kv.mod_rev || kv.version < 1) {
        return broken(err, "a record's revisions contradict each other");
    }
    *ret = kv;
    return 0;
}

static int read_kvs(struct sk_arena *arena, const struct sk_node *node, int64_t revision,
                    struct etcd_range *ret, struct sk_err *err)
{
    const struct sk_node *kvs = sk_map_get(node, SK_STR("kvs"));
    struct etcd_range range = {.more = bool_of(node, "more")};

    if (!kvs) {
        *ret = range;
        return 0;
    }
    if (kvs->kind != SK_SEQ) {
        return broken(err, "records are no list");
    }
    range.kvs = SK_ARENA_ARRAY(arena, struct etcd_kv, kvs->count);
    range.count = kvs->count;
    for (size_t i = 0; i < range.count; i++) {
        int rc = read_kv(arena, &kvs->u.items[i], false, &range.kvs[i], err);
        if (rc < 0) {
            return rc;
        }
        if (range.kvs[i].mod_rev > revision) {
            return broken(err, "a record is newer than the answer");
        }
        if (i > 0 && sk_str_cmp(range.kvs[i - 1].key, range.kvs[i].key) >= 0) {
            return broken(err, "records are out of order");
        }
    }
    *ret = range;
    return 0;
}

static int read_root(struct sk_arena *arena, struct sk_str bytes, const struct sk_node **ret,
                     struct sk_err *err)
{
    struct sk_err why = {0};
    int rc = sk_json_read(arena, "etcd's answer", bytes, &limits, ret, &why);

    if (rc < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "%.300s", why.msg);
    }
    return (*ret)->kind == SK_MAP ? 0 : broken(err, "no object");
}

static int read_header(const struct sk_node *root, int64_t *ret_revision, struct sk_err *err)
{
    const struct sk_node *header = sk_map_get(root, SK_STR("header"));
    int64_t revision;
    int rc;

    if (!header || header->kind != SK_MAP) {
        return broken(err, "no header");
    }
    rc = etcd_int_of(header, "revision", &revision, err);
    if (rc < 0) {
        return rc;
    }
    if (revision < 1) {
        return broken(err, "no revision");
    }
    *ret_revision = revision;
    return 0;
}

static int read_responses(struct sk_arena *arena, const struct sk_node *root, size_t expected,
                          struct etcd_answer *answer, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(root, "responses");
    size_t count = list ? list->count : 0;

    if (count != expected || count > RESPONSES_MAX) {
        return broken(err, "as many responses as were not asked for");
    }
    answer->nranges = count;
    answer->ranges = SK_ARENA_ARRAY(arena, struct etcd_range, count);
    for (size_t i = 0; i < count; i++) {
        const struct sk_node *item = &list->u.items[i];
        const struct sk_node *range =
            item->kind == SK_MAP ? sk_map_get(item, SK_STR("response_range")) : NULL;
        if (range && range->kind == SK_MAP) {
            int rc = read_kvs(arena, range, answer->revision, &answer->ranges[i], err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* The tree lives shortly; what is kept of it is decoded into the caller's arena. */
int etcd_read_txn(struct sk_arena *arena, struct sk_str bytes, size_t expected,
                  struct etcd_answer *ret, struct sk_err *err)
{
    struct sk_arena *tree = sk_arena_new();
    struct etcd_answer answer = {0};
    const struct sk_node *root = NULL;
    int rc = read_root(tree, bytes, &root, err);

    if (rc == 0) {
        rc = read_header(root, &answer.revision, err);
    }
    if (rc == 0) {
        answer.succeeded = bool_of(root, "succeeded");
        rc = read_responses(arena, root, expected, &answer, err);
    }
    sk_arena_free(tree);
    if (rc == 0) {
        *ret = answer;
    }
    return rc;
}

int etcd_read_range(struct sk_arena *arena, struct sk_str bytes, struct etcd_answer *ret,
                    struct sk_err *err)
{
    struct sk_arena *tree = sk_arena_new();
    struct etcd_answer answer = {.succeeded = true, .nranges = 1};
    const struct sk_node *root = NULL;
    int rc = read_root(tree, bytes, &root, err);

    if (rc == 0) {
        rc = read_header(root, &answer.revision, err);
    }
    if (rc == 0) {
        answer.ranges = SK_ARENA_NEW(arena, struct etcd_range);
        rc = read_kvs(arena, root, answer.revision, answer.ranges, err);
    }
    sk_arena_free(tree);
    if (rc == 0) {
        *ret = answer;
    }
    return rc;
}

/* --- refusals -------------------------------------------------------------------------------- */

static bool says(struct sk_str text, const char *part)
{
    return text.len > 0 && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* By gRPC's codes; those that several reasons share are told apart by etcd's texts. Whatever is not
 * known to be without effect counts as having one. */
static enum etcd_refusal refusal_of(int64_t code, struct sk_str text)
{
    switch (code) {
    case 3: /* invalid argument */
        return says(text, "too large") || says(text, "too many operations") ? ETCD_TOO_LARGE
                                                                            : ETCD_INVALID;
    case 5: /* not found */
    case 6: /* already exists */
    case 9: /* failed precondition */
        return ETCD_NOT_NOW;
    case 14: /* unavailable */
        return says(text, "unhealthy cluster") ? ETCD_NOT_NOW : ETCD_AGAIN;
    case 7:  /* permission denied */
    case 16: /* unauthenticated */
        return ETCD_DENIED;
    case 8: /* resource exhausted */
        return says(text, "space exceeded")                                       ? ETCD_FULL
               : says(text, "larger than max") || says(text, "message too large") ? ETCD_TOO_LARGE
                                                                                  : ETCD_AGAIN;
    case 11: /* out of range */
        return says(text, "compacted") ? ETCD_COMPACTED
               : says(text, "future")  ? ETCD_FUTURE
                                       : ETCD_AGAIN;
    case 15: /* data loss */
        return ETCD_DAMAGED;
    default:
        return ETCD_AGAIN;
    }
}

static int code_of(enum etcd_refusal refusal)
{
    switch (refusal) {
    case ETCD_TOO_LARGE:
        return SK_ERR_LIMIT;
    case ETCD_DENIED:
        return SK_ERR_DENIED;
    case ETCD_INVALID:
        return SK_ERR_PROTOCOL;
    case ETCD_DAMAGED:
        return SK_ERR_CORRUPT;
    case ETCD_AGAIN:
    case ETCD_COMPACTED:
    case ETCD_FUTURE:
    case ETCD_FULL:
    case ETCD_NOT_NOW:
        return SK_ERR_UNAVAILABLE;
    }
    return SK_ERR_INTERNAL;
}

/* A stream wraps its errors once more and names the code differently. */
static struct sk_str reason_of(const struct sk_node *root, int64_t *ret_code)
{
    const struct sk_node *error = sk_map_get(root, SK_STR("error"));
    const struct sk_node *at = error && error->kind == SK_MAP ? error : root;
    struct sk_str text = sk_map_str(at, "message", SK_STR_NULL);

    *ret_code = sk_map_int(at, "code", sk_map_int(at, "grpc_code", -1));
    return text.len ? text : sk_map_str(at, "error", SK_STR_NULL);
}

enum etcd_refusal etcd_read_refusal(struct sk_str bytes, long status, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    enum etcd_refusal refusal = ETCD_AGAIN;

    if (bytes.len > 65536 || read_root(arena, bytes, &root, NULL) < 0) {
        sk_err_set(err, SK_ERR_UNAVAILABLE, "etcd answers with status %ld", status);
    } else {
        int64_t code;
        struct sk_str text = reason_of(root, &code);
        refusal = refusal_of(code, text);
        text = sk_str_head(text, REASON_MAX);
        sk_err_set(err, code_of(refusal), "etcd refuses: %.*s", (int)text.len,
                   text.ptr ? text.ptr : "");
        if (refusal == ETCD_FULL) {
            (void)sk_err_fix(err, "compact and defragment the members of etcd, disarm the alarm");
        } else if (refusal == ETCD_TOO_LARGE) {
            (void)sk_err_fix(err, "start the members of etcd with --max-txn-ops=2048 "
                                  "--max-request-bytes=10485760");
        }
    }
    sk_arena_free(arena);
    return refusal;
}

/* --- watches --------------------------------------------------------------------------------- */

static int read_event(struct sk_arena *arena, const struct sk_node *node, struct etcd_event *ret,
                      struct sk_err *err)
{
    struct sk_str type;

    if (node->kind != SK_MAP) {
        return broken(err, "an event is none");
    }
    type = sk_map_str(node, "type", SK_STR("PUT"));
    ret->deleted = sk_str_is(type, "DELETE");
    if (!ret->deleted && !sk_str_is(type, "PUT")) {
        return broken(err, "an event of an unknown kind");
    }
    return read_kv(arena, sk_map_get(node, SK_STR("kv")), ret->deleted, &ret->kv, err);
}

static int read_events(struct sk_arena *arena, const struct sk_node *result, struct etcd_line *line,
                       struct sk_err *err)
{
    const struct sk_node *events = sk_map_get(result, SK_STR("events"));

    if (!events) {
        return 0;
    }
    if (events->kind != SK_SEQ) {
        return broken(err, "events are no list");
    }
    line->count = events->count;
    line->events = SK_ARENA_ARRAY(arena, struct etcd_event, events->count);
    for (size_t i = 0; i < line->count; i++) {
        int rc = read_event(arena, &events->u.items[i], &line->events[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int read_result(struct sk_arena *arena, const struct sk_node *root, struct etcd_line *line,
                       struct sk_err *err)
{
    const struct sk_node *result = sk_map_get(root, SK_STR("result"));
    int rc;

    if (!result || result->kind != SK_MAP) {
        return broken(err, "a line of a watch without a result");
    }
    line->created = bool_of(result, "created");
    line->canceled = bool_of(result, "canceled");
    rc = etcd_int_of(result, "compact_revision", &line->compact_revision, err);
    return rc < 0 ? rc : read_events(arena, result, line, err);
}

int etcd_read_line(struct sk_arena *arena, struct sk_str bytes, struct etcd_line *ret,
                   struct sk_err *err)
{
    struct sk_arena *tree = sk_arena_new();
    struct etcd_line line = {0};
    const struct sk_node *root = NULL;
    int rc = read_root(tree, bytes, &root, err);

    if (rc == 0 && sk_map_get(root, SK_STR("error"))) {
        int64_t code;
        struct sk_str text = sk_str_head(reason_of(root, &code), REASON_MAX);
        rc = sk_err_set(err, SK_ERR_UNAVAILABLE, "etcd ends the watch: %.*s", (int)text.len,
                        text.ptr ? text.ptr : "");
    } else if (rc == 0) {
        rc = read_result(arena, root, &line, err);
    }
    sk_arena_free(tree);
    if (rc == 0) {
        *ret = line;
    }
    return rc;
}
