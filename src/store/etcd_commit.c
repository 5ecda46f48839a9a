/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing exactly once, over a network that loses answers.
 *
 * Each handle has a key of its own in etcd, its mark. A txn compares the mark's revision with the
 * one that the handle knows, and puts the txn's number there. So of all the copies of a txn that
 * may be on their way at most one takes place, and whoever reads the mark knows whether it did:
 * sending the same txn again, to any member, is safe and tells. When nothing is to be sent again
 * but a copy may still be on its way, a fence (a put of the mark under the same compare) either
 * takes place, then no copy ever will, or does not, then the mark says that the txn did.
 */
#include "base/mem.h"
#include "store/etcd_impl.h"
#include "sys/clock.h"

struct sending {
    struct etcd_store *s;
    const struct etcd_commit *commit;
    int64_t until_ms;
    struct sk_buf body, answer;
    char mark[ETCD_MARK_MAX];
    int64_t body_for; /* the writer_rev that the body compares, -1: none yet */
    bool open;        /* a copy may be on its way */
    struct sk_err last;
};

/* --- the request ----------------------------------------------------------------------------- */

static void put_compare(struct sk_jw *w, struct sk_str key, int64_t mod_rev, bool exists)
{
    sk_jw_obj(w);
    etcd_put_bytes(w, "key", key);
    sk_jw_kcstr(w, "target", exists ? "CREATE" : "MOD");
    sk_jw_kcstr(w, "result", exists ? "GREATER" : "EQUAL");
    etcd_put_int(w, exists ? "create_revision" : "mod_revision", mod_rev);
    sk_jw_obj_end(w);
}

static void put_op(struct sk_jw *w, const struct etcd_op *op)
{
    sk_jw_obj(w);
    sk_jw_key(w, op->kind == ETCD_PUT ? "request_put" : "request_delete_range");
    sk_jw_obj(w);
    etcd_put_bytes(w, "key", op->key);
    if (op->kind == ETCD_PUT) {
        etcd_put_bytes(w, "value", op->value);
    } else if (op->kind == ETCD_DELETE_RANGE) {
        etcd_put_bytes(w, "range_end", op->value);
    }
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

static void put_look(struct sk_jw *w, struct sk_str key, bool keys_only)
{
    sk_jw_obj(w);
    sk_jw_key(w, "request_range");
    sk_jw_obj(w);
    etcd_put_bytes(w, "key", key);
    if (keys_only) {
        sk_jw_kbool(w, "keys_only", true);
    }
    sk_jw_obj_end(w);
    sk_jw_obj_end(w);
}

static void write_success(struct sending *x, struct sk_jw *w, struct sk_str writer)
{
    const struct etcd_commit *commit = x->commit;
    struct sk_buf key = SK_BUF_INIT;
    char puts[24];

    sk_jw_key(w, "success");
    sk_jw_arr(w);
    put_op(w, &(struct etcd_op){ETCD_PUT, writer, sk_str(x->mark)});
    for (size_t i = 0; i < commit->nops; i++) {
        put_op(w, &commit->ops[i]);
    }
    if (commit->head) { /* last: whoever watches takes it for the end of the revision */
        (void)snprintf(puts, sizeof(puts), "%zu", commit->puts);
        etcd_key(x->s, "head", &key);
        put_op(w, &(struct etcd_op){ETCD_PUT, sk_buf_str(&key), sk_str(puts)});
    }
    sk_jw_arr_end(w);
    sk_buf_release(&key);
}

/* What tells why a compare did not hold. */
static void write_failure(struct sending *x, struct sk_jw *w, struct sk_str meta,
                          struct sk_str writer)
{
    sk_jw_key(w, "failure");
    sk_jw_arr(w);
    put_look(w, meta, false);
    put_look(w, writer, false);
    for (size_t i = 0; i < x->commit->ncompares; i++) {
        put_look(w, x->commit->compares[i].key, true);
    }
    sk_jw_arr_end(w);
}

static void write_body(struct sending *x)
{
    const struct etcd_commit *commit = x->commit;
    struct sk_buf meta = SK_BUF_INIT;
    struct sk_buf writer = SK_BUF_INIT;
    struct sk_jw w;

    etcd_key(x->s, "meta", &meta);
    etcd_writer_key(x->s, &writer);
    sk_buf_clear(&x->body);
    sk_jw_init(&w, &x->body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "compare");
    sk_jw_arr(&w);
    put_compare(&w, sk_buf_str(&meta), commit->make ? 0 : x->s->meta.mod_rev, false);
    put_compare(&w, sk_buf_str(&writer), x->s->writer_rev, false);
    for (size_t i = 0; i < commit->ncompares; i++) {
        const struct etcd_compare *compare = &commit->compares[i];
        put_compare(&w, compare->key, compare->exists ? 0 : compare->mod_rev, compare->exists);
    }
    sk_jw_arr_end(&w);
    write_success(x, &w, sk_buf_str(&writer));
    write_failure(x, &w, sk_buf_str(&meta), sk_buf_str(&writer));
    sk_jw_obj_end(&w);
    x->body_for = x->s->writer_rev;
    sk_buf_release(&meta);
    sk_buf_release(&writer);
}

void etcd_write_removal(const struct etcd_range *range, struct sk_buf *ret_body)
{
    struct sk_jw w;

    sk_jw_init(&w, ret_body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "compare");
    sk_jw_arr(&w);
    for (size_t i = 0; i < range->count; i++) {
        put_compare(&w, range->kvs[i].key, range->kvs[i].mod_rev, false);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "success");
    sk_jw_arr(&w);
    for (size_t i = 0; i < range->count; i++) {
        put_op(&w, &(struct etcd_op){ETCD_DELETE, range->kvs[i].key, SK_STR_NULL});
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

/* --- the fence ------------------------------------------------------------------------------- */

static void write_fence(struct etcd_store *s, const char *fence, struct sk_buf *body)
{
    struct sk_buf writer = SK_BUF_INIT;
    struct sk_jw w;

    etcd_writer_key(s, &writer);
    sk_jw_init(&w, body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "compare");
    sk_jw_arr(&w);
    put_compare(&w, sk_buf_str(&writer), s->writer_rev, false);
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "success");
    sk_jw_arr(&w);
    put_op(&w, &(struct etcd_op){ETCD_PUT, sk_buf_str(&writer), sk_str(fence)});
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "failure");
    sk_jw_arr(&w);
    put_look(&w, sk_buf_str(&writer), false);
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    sk_buf_release(&writer);
}

/* Sends it until one member answers: it may be repeated as it is, for of all copies one at most
 * takes place. *ret_mark: the mark as it stands from now on, for good. */
static int fence(struct etcd_store *s, int64_t until_ms, char ret_mark[ETCD_MARK_MAX],
                 int64_t *ret_rev, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf body = SK_BUF_INIT;
    struct sk_buf bytes = SK_BUF_INIT;
    struct etcd_answer answer;
    char mark[ETCD_MARK_MAX];
    int rc;

    (void)snprintf(mark, sizeof(mark), "-%llu", (unsigned long long)s->seq);
    write_fence(s, mark, &body);
    rc = etcd_ask(s, "/v3/kv/txn", sk_buf_str(&body), until_ms, &bytes, NULL, err);
    if (rc == 0) {
        rc = etcd_read_txn(arena, sk_buf_str(&bytes), 1, &answer, err);
    }
    if (rc == 0 && answer.succeeded) {
        memcpy(ret_mark, mark, sizeof(mark));
        *ret_rev = answer.revision;
    } else if (rc == 0 && answer.ranges[0].count == 1 &&
               answer.ranges[0].kvs[0].value.len < ETCD_MARK_MAX) {
        const struct etcd_kv *kv = &answer.ranges[0].kvs[0];
        memcpy(ret_mark, kv->value.ptr, kv->value.len + 1);
        *ret_rev = kv->mod_rev;
    } else if (rc == 0) { /* taken for that of a dead handle and removed */
        ret_mark[0] = '\0';
        *ret_rev = 0;
    }
    sk_arena_free(arena);
    sk_buf_release(&body);
    sk_buf_release(&bytes);
    return rc;
}

int etcd_settle(struct etcd_store *s, int64_t until_ms, struct sk_err *err)
{
    char mark[ETCD_MARK_MAX];
    int64_t rev;
    int rc = s->pending ? fence(s, until_ms, mark, &rev, err) : 0;

    if (rc == 0 && s->pending) {
        s->pending = false;
        s->writer_rev = rev;
    }
    return rc;
}

/* --- the answer ------------------------------------------------------------------------------ */

enum verdict { WROTE, AGAIN, MOVED, DIFFERS, NONSENSE, UNKNOWN };

static int64_t mod_rev_of(const struct etcd_range *range)
{
    return range->count ? range->kvs[0].mod_rev : 0;
}

static bool holds(const struct etcd_compare *compare, int64_t mod_rev)
{
    return compare->exists ? mod_rev > 0 : mod_rev == compare->mod_rev;
}

static enum verdict judge_meta(struct sending *x, const struct etcd_range *range)
{
    struct etcd_meta meta;

    if (mod_rev_of(range) == (x->commit->make ? 0 : x->s->meta.mod_rev)) {
        return DIFFERS; /* not this one: look further */
    }
    if (range->count != 1 || etcd_read_meta(&range->kvs[0], &meta, &x->last) < 0) {
        return NONSENSE;
    }
    x->s->meta = meta;
    return MOVED;
}

/* The compares did not all hold: which, and does that mean that an earlier copy took place? */
static enum verdict judge_failure(struct sending *x, const struct etcd_answer *answer,
                                  struct etcd_result *result)
{
    struct etcd_store *s = x->s;
    const struct etcd_range *writer = &answer->ranges[1];
    enum verdict verdict;

    if (writer->count > 0 && sk_str_is(writer->kvs[0].value, x->mark)) {
        result->etcd_rev = s->writer_rev = writer->kvs[0].mod_rev;
        return WROTE;
    }
    if (mod_rev_of(writer) != s->writer_rev) { /* removed as that of a dead handle */
        s->writer_rev = mod_rev_of(writer);
        return x->open ? UNKNOWN : AGAIN;
    }
    verdict = judge_meta(x, &answer->ranges[0]);
    if (verdict != DIFFERS) {
        return verdict;
    }
    for (size_t i = 0; i < x->commit->ncompares; i++) {
        int64_t mod_rev = mod_rev_of(&answer->ranges[i + 2]);
        if (!holds(&x->commit->compares[i], mod_rev)) {
            result->at = i;
            result->mod_rev = mod_rev;
            return DIFFERS;
        }
    }
    return NONSENSE;
}

static enum verdict judge(struct sending *x, struct etcd_result *result)
{
    struct sk_arena *arena = sk_arena_new();
    const struct etcd_commit *commit = x->commit;
    struct etcd_answer answer;
    enum verdict verdict = NONSENSE;
    size_t responses;
    bool succeeded = false;
    int rc;

    /* how many responses there must be depends on which branch it was: try the likely one first */
    responses = commit->nops + 1 + (commit->head ? 1 : 0);
    rc = etcd_read_txn(arena, sk_buf_str(&x->answer), responses, &answer, &x->last);
    succeeded = rc == 0 && answer.succeeded;
    if (succeeded && answer.revision > x->s->writer_rev) {
        result->etcd_rev = x->s->writer_rev = answer.revision;
        verdict = WROTE;
    } else if (!succeeded) {
        rc = etcd_read_txn(arena, sk_buf_str(&x->answer), commit->ncompares + 2, &answer, &x->last);
        if (rc == 0 && !answer.succeeded) {
            verdict = judge_failure(x, &answer, result);
        }
    }
    sk_arena_free(arena);
    return verdict;
}

/* --- the exchange ---------------------------------------------------------------------------- */

/* Time is over, or the outcome cannot be known. */
static int leave_open(struct sending *x, struct sk_err *err)
{
    if (!x->open) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "no member of etcd answers in time: %.300s",
                          x->last.msg);
    }
    x->s->pending = true;
    return sk_err_set(err, SK_ERR_TIMEOUT, "whether this was written is not known yet: %.300s",
                      x->last.msg);
}

/* The txn is not to be sent again, but an earlier copy may be on its way: 0 and ETCD_DONE when that
 * one took place after all, 0 and as it was when it never will. */
static int close_door(struct sending *x, struct etcd_result *result, struct sk_err *err)
{
    char mark[ETCD_MARK_MAX];
    int64_t rev;

    if (!x->open) {
        return 0;
    }
    if (fence(x->s, x->until_ms, mark, &rev, &x->last) < 0) {
        return leave_open(x, err);
    }
    x->s->writer_rev = rev;
    if (mark[0] == '\0') {
        return sk_err_set(err, SK_ERR_TIMEOUT, "whether this was written cannot be known any more");
    }
    if (strcmp(mark, x->mark) == 0) {
        *result = (struct etcd_result){.outcome = ETCD_DONE, .etcd_rev = rev};
    }
    return 0;
}

static int refused(struct sending *x, struct etcd_result *result, struct sk_err *err)
{
    struct sk_err why = x->last;
    int rc;

    result->outcome = ETCD_META_MOVED; /* anything but done */
    rc = close_door(x, result, err);
    if (rc < 0 || result->outcome == ETCD_DONE) {
        return rc;
    }
    if (err) {
        *err = why;
    }
    return why.code;
}

/* One copy. 1: send another. */
static int send_once(struct sending *x, struct etcd_result *result, struct sk_err *err)
{
    long status = 0;
    enum etcd_sent sent =
        etcd_http_post(x->s->http, "/v3/kv/txn", sk_buf_str(&x->body), x->until_ms,
                       ETCD_ANSWER_BYTES_MAX, &x->answer, &status, &x->last);
    if (sent == ETCD_NOT_SENT) {
        return 1;
    }
    if (sent == ETCD_ANSWERED && status != 200) {
        enum etcd_refusal refusal = etcd_read_refusal(sk_buf_str(&x->answer), status, &x->last);
        if (refusal != ETCD_AGAIN) {
            return refused(x, result, err);
        }
    }
    if (sent == ETCD_OPEN || status != 200) {
        x->open = true;
        return 1;
    }
    switch (judge(x, result)) {
    case WROTE:
        result->outcome = ETCD_DONE;
        return 0;
    case MOVED: /* no copy can take place any more: it compares a revision that never comes back */
        result->outcome = ETCD_META_MOVED;
        return 0;
    case DIFFERS:
        result->outcome = ETCD_DIFFERS;
        return close_door(x, result, err);
    case UNKNOWN:
        return sk_err_set(err, SK_ERR_TIMEOUT, "whether this was written cannot be known any more");
    case AGAIN:
        return 1;
    case NONSENSE:
        break;
    }
    x->open = true;
    return 1;
}

int etcd_commit(struct etcd_store *s, const struct etcd_commit *commit, int64_t until_ms,
                struct etcd_result *ret, struct sk_err *err)
{
    struct sending x = {.s = s, .commit = commit, .until_ms = until_ms, .body_for = -1};
    struct etcd_result result = {0};
    unsigned tries = 0;
    int rc = etcd_settle(s, until_ms, err);

    if (rc < 0) { /* nothing of this txn was sent */
        return rc;
    }
    s->seq++;
    (void)snprintf(x.mark, sizeof(x.mark), "%llu", (unsigned long long)s->seq);
    do {
        if (x.body_for != s->writer_rev) {
            write_body(&x);
        }
        rc = send_once(&x, &result, err);
        if (rc == 1) {
            etcd_http_next(s->http);
            etcd_pause(s, &tries, until_ms);
        }
    } while (rc == 1 && sys_now_ms() < until_ms && !etcd_http_stopped(s->http));
    if (rc == 1) {
        rc = leave_open(&x, err);
    }
    sk_buf_release(&x.body);
    sk_buf_release(&x.answer);
    if (rc == 0) {
        *ret = result;
    }
    return rc;
}
