/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "sys/file.h"

#define KEY_PREFIX "/skerry/v1/"
#define JOBS_MAX 64
#define FILE_BYTES_MAX 65536
#define WATCH_MS 400           /* and then the loop is asked whether to go on */
#define WATCH_DEADLINE_MS 2000 /* of one call */
#define WATCH_RETRY_MS 250

/* Waits for changes on a thread of its own, which has the first half while a job is under way. */
struct feed {
    struct sys_job job;
    struct state *state;
    unsigned form_number; /* of the form that this job is to watch, and of the open handle */
    unsigned open_number;
    unsigned form_places; /* the same of its endpoints */
    unsigned open_places;
    struct state_form form;
    struct store *store;
    struct store_revision after;
    struct store_changes changes;
    int result;
    struct sk_err err;

    bool wanted, running, failing;
    unsigned number;            /* of the form that is to be followed */
    struct store_revision from; /* and from where */
};

struct state {
    char dir[400];
    struct state_form form;
    unsigned number; /* counts the forms */
    unsigned places; /* and the changes of their endpoints */
    bool unkept;     /* the endpoints are not in store.json yet */
    struct sys_worker *worker, *watcher;
    state_changed_fn *changed;
    void *ctx;
    struct feed feed;
    uv_timer_t retry;
    bool ending;
    int stop_fd; /* ends the watch under way */
    /* the worker's */
    struct state_form at_work;
    struct store *store;
};

/* ---- the form ---- */

static int take_text(const struct sk_node *root, const char *key, char *out, size_t size,
                     struct sk_err *err)
{
    struct sk_str text = sk_map_str(root, key, SK_STR(""));

    if (text.len == 0 || text.len >= size || memchr(text.ptr, '\0', text.len) != NULL) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'%s' is missing or too long", key);
    }
    (void)snprintf(out, size, "%.*s", SK_PRI(text));
    return 0;
}

static int read_etcd(const struct sk_node *root, struct state_form *form, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(root, "endpoints");

    if (list == NULL || list->count == 0 || list->count > STORE_ETCD_ENDPOINTS_MAX) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'endpoints' must name 1 to %d members of etcd",
                          STORE_ETCD_ENDPOINTS_MAX);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *url = &list->u.items[i];
        if (url->kind != SK_STRING || url->u.text.len == 0 || url->u.text.len >= STATE_URL_SIZE) {
            return sk_err_set(err, SK_ERR_CORRUPT, "an endpoint is no address");
        }
        (void)snprintf(form->endpoints[i], STATE_URL_SIZE, "%.*s", SK_PRI(url->u.text));
    }
    form->nendpoints = list->count;
    if (take_text(root, "root", form->root, sizeof(form->root), err) < 0 ||
        take_text(root, "ca", form->ca, sizeof(form->ca), err) < 0 ||
        take_text(root, "cert", form->cert, sizeof(form->cert), err) < 0 ||
        take_text(root, "key", form->key, sizeof(form->key), err) < 0) {
        return SK_ERR_CORRUPT;
    }
    form->etcd = true;
    return 0;
}

static int read_form(const char *path, struct sk_str text, struct state_form *form,
                     struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int rc = sk_json_read(arena, path, text, NULL, &root, err);
    struct sk_str kind =
        rc == 0 && root->kind == SK_MAP ? sk_map_str(root, "kind", SK_STR("")) : SK_STR("");

    if (rc == 0 && sk_str_is(kind, "etcd")) {
        rc = read_etcd(root, form, err);
    } else if (rc == 0 && !sk_str_is(kind, "sqlite")) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "'kind' must be sqlite or etcd");
    }
    sk_arena_free(arena);
    return rc < 0 ? SK_ERR_CORRUPT : 0;
}

static void form_path(const char *dir, char out[STATE_PATH_SIZE])
{
    (void)snprintf(out, STATE_PATH_SIZE, "%s/store.json", dir);
}

int state_form_read(const char *dir, struct state_form *ret, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct state_form form = {0};
    struct sk_err why = {0};
    char path[STATE_PATH_SIZE];
    int rc;

    form_path(dir, path);
    rc = sys_file_read(path, FILE_BYTES_MAX, &text, &why);
    if (rc == 0) {
        rc = read_form(path, sk_buf_str(&text), &form, &why);
        if (rc < 0) {
            (void)sk_err_set(err, SK_ERR_CORRUPT, "'%s': %s", path, why.msg);
        }
    } else if (rc == SK_ERR_NOT_FOUND) {
        rc = 0;
    } else if (err != NULL) {
        *err = why;
    }
    sk_buf_release(&text);
    if (rc == 0) {
        *ret = form;
    }
    return rc;
}

int state_form_write(const char *dir, const struct state_form *form, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;
    char path[STATE_PATH_SIZE];
    int rc;

    sk_jw_init(&w, &text);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "kind", form->etcd ? "etcd" : "sqlite");
    if (form->etcd) {
        sk_jw_key(&w, "endpoints");
        sk_jw_arr(&w);
        for (size_t i = 0; i < form->nendpoints; i++) {
            sk_jw_cstr(&w, form->endpoints[i]);
        }
        sk_jw_arr_end(&w);
        sk_jw_kcstr(&w, "root", form->root);
        sk_jw_kcstr(&w, "ca", form->ca);
        sk_jw_kcstr(&w, "cert", form->cert);
        sk_jw_kcstr(&w, "key", form->key);
    }
    sk_jw_obj_end(&w);
    sk_buf_addc(&text, '\n');
    form_path(dir, path);
    rc = sys_file_write(path, sk_buf_str(&text), 0600, err);
    sk_buf_release(&text);
    return rc;
}

void state_form_options(const char *dir, const struct state_form *form,
                        char paths[3][2 * STATE_PATH_SIZE],
                        const char *urls[STORE_ETCD_ENDPOINTS_MAX], struct store_etcd *ret)
{
    const char *names[3] = {form->ca, form->cert, form->key};

    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(paths[i], 2 * STATE_PATH_SIZE, "%s%s%s", names[i][0] == '/' ? "" : dir,
                       names[i][0] == '/' ? "" : "/", names[i]);
    }
    for (size_t i = 0; i < form->nendpoints; i++) {
        urls[i] = form->endpoints[i];
    }
    *ret = (struct store_etcd){.endpoints = urls,
                               .nendpoints = form->nendpoints,
                               .root = form->root,
                               .ca_file = paths[0],
                               .cert_file = paths[1],
                               .key_file = paths[2],
                               .txn_bytes_max = STORE_ETCD_TXN_BYTES_MAX};
}

int state_form_open(const char *dir, const struct state_form *form, int64_t deadline_ms,
                    struct store **ret, struct sk_err *err)
{
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd options;

    if (!form->etcd) {
        return store_open_sqlite(dir, ret, err);
    }
    state_form_options(dir, form, paths, urls, &options);
    options.deadline_ms = deadline_ms;
    return store_open_etcd(&options, ret, err);
}

/* ---- the feed ---- */

/* With etcd gone or in doubt a watch takes seconds to fail. Where the control half ends and the
 * daemon goes on, the loop waits for it and must not fall silent for so long. */
static int feed_open(struct feed *feed)
{
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd options;

    state_form_options(feed->state->dir, &feed->form, paths, urls, &options);
    options.deadline_ms = WATCH_DEADLINE_MS;
    options.stop_fd = feed->state->stop_fd;
    return store_open_etcd(&options, &feed->store, &feed->err);
}

static int take_places(struct store *store, const struct state_form *form, struct sk_err *err)
{
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];

    for (size_t i = 0; i < form->nendpoints; i++) {
        urls[i] = form->endpoints[i];
    }
    return store_etcd_set_endpoints(store, urls, form->nendpoints, err);
}

static void feed_go(struct feed *feed);

static void feed_run(struct sys_job *job)
{
    struct feed *feed = (struct feed *)job;

    feed->result = 0;
    feed->changes = (struct store_changes){0};
    feed->err = (struct sk_err){0};
    if (feed->open_number != feed->form_number) {
        store_close(feed->store);
        feed->store = NULL;
        feed->open_number = feed->form_number;
    }
    if (feed->store == NULL) {
        feed->result = feed_open(feed);
    } else if (feed->open_places != feed->form_places) {
        feed->result = take_places(feed->store, &feed->form, &feed->err);
    }
    feed->open_places = feed->form_places;
    if (feed->result == 0) {
        feed->result = store_watch(feed->store, SK_STR(KEY_PREFIX), &feed->after, WATCH_MS,
                                   &feed->changes, &feed->err);
    }
}

static bool is_lost(const struct store_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->changes[i].kind == STORE_LOST) {
            return true;
        }
    }
    return false;
}

static void on_retry(uv_timer_t *timer)
{
    struct state *state = timer->data;
    feed_go(&state->feed);
}

static void feed_failed(struct feed *feed)
{
    if (!feed->failing) {
        feed->failing = true;
        sk_log_err(SK_LOG_WARN, "changes of the state do not come", &feed->err);
    }
    (void)uv_timer_start(&feed->state->retry, on_retry, WATCH_RETRY_MS, 0);
}

static void feed_done(struct sys_job *job)
{
    struct feed *feed = (struct feed *)job;
    struct state *state = feed->state;
    struct store_changes changes = feed->changes;

    feed->running = false;
    if (state->ending || !feed->wanted || feed->form_number != feed->number) {
        if (feed->result == 0) {
            store_changes_release(&changes); /* of a state that is not followed any more */
        }
        feed_go(feed);
    } else if (feed->result < 0) {
        feed_failed(feed);
    } else {
        if (feed->failing) {
            feed->failing = false;
            sk_log(SK_LOG_INFO, "changes of the state come again", "%s", "");
        }
        feed->after = changes.revision;
        state->changed(state->ctx, &changes, is_lost(&changes));
        store_changes_release(&changes);
        feed_go(feed);
    }
}

static void feed_go(struct feed *feed)
{
    struct state *state = feed->state;

    if (state->ending || feed->running || !feed->wanted) {
        return;
    }
    if (feed->form_number != feed->number) {
        feed->form_number = feed->number;
        feed->form = state->form;
        feed->form_places = state->places;
        feed->after = feed->from;
    } else if (feed->form_places != state->places && feed->number == state->number) {
        feed->form = state->form;
        feed->form_places = state->places;
    }
    feed->running = true;
    feed->job = (struct sys_job){feed_run, feed_done};
    SK_ASSERT(sys_worker_submit(state->watcher, &feed->job));
}

void state_follow(struct state *state, const struct store_revision *from)
{
    struct feed *feed = &state->feed;

    if (!state->form.etcd || (feed->wanted && feed->number == state->number)) {
        return;
    }
    if (state->watcher == NULL) {
        state->watcher = sys_worker_new(state->retry.loop, "watch", JOBS_MAX);
    }
    feed->number = state->number;
    feed->from = *from;
    feed->wanted = true;
    feed_go(feed);
}

/* ---- reading and writing ---- */

const struct state_form *state_form(const struct state *state)
{
    return &state->form;
}

bool state_submit(struct state *state, struct sys_job *job)
{
    return sys_worker_submit(state->worker, job);
}

int state_store(struct state *state, struct store **ret, struct sk_err *err)
{
    int rc = 0;

    if (state->store == NULL) {
        rc = state_form_open(state->dir, &state->at_work, 0, &state->store, err);
    }
    if (rc == 0) {
        *ret = state->store;
    }
    return rc;
}

struct switch_job {
    struct sys_job job;
    struct state *state;
    struct state_form form;
    struct store *fresh;
};

static void switch_run(struct sys_job *job)
{
    struct switch_job *s = (struct switch_job *)job;

    store_close(s->state->store);
    s->state->store = s->fresh;
    s->state->at_work = s->form;
}

static void switch_done(struct sys_job *job)
{
    free(job);
}

/* The handle stays: it knows what became of its last txn. */
static void places_run(struct sys_job *job)
{
    struct switch_job *s = (struct switch_job *)job;
    struct sk_err err = {0};

    s->state->at_work = s->form;
    if (s->state->store != NULL && take_places(s->state->store, &s->form, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "members of etcd not taken", &err);
    }
}

static bool same_places(const struct state_form *form, const struct sk_str *endpoints, size_t count)
{
    bool same = count == form->nendpoints;

    for (size_t i = 0; same && i < count; i++) {
        same = sk_str_is(endpoints[i], form->endpoints[i]);
    }
    return same;
}

void state_set_endpoints(struct state *state, const struct sk_str *endpoints, size_t count)
{
    struct switch_job *s;
    struct sk_err err = {0};

    if (!state->form.etcd || count == 0 || count > STORE_ETCD_ENDPOINTS_MAX ||
        (!state->unkept && same_places(&state->form, endpoints, count))) {
        return;
    }
    state->form.nendpoints = count;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(state->form.endpoints[i], STATE_URL_SIZE, "%.*s", SK_PRI(endpoints[i]));
    }
    state->unkept = state_form_write(state->dir, &state->form, &err) < 0;
    if (state->unkept) {
        sk_log_err(SK_LOG_ERROR, "members of etcd not kept",
                   &err); /* the next change tries again */
    }
    sk_log(SK_LOG_INFO, "members of etcd", "count=%zu first=%s", count, state->form.endpoints[0]);
    state->places++;
    s = sk_xcalloc(1, sizeof(*s));
    *s = (struct switch_job){{places_run, switch_done}, state, state->form, NULL};
    SK_ASSERT(sys_worker_submit(state->worker, &s->job));
}

void state_switch(struct state *state, const struct state_form *form, struct store *fresh)
{
    struct switch_job *s = sk_xcalloc(1, sizeof(*s));

    *s = (struct switch_job){{switch_run, switch_done}, state, *form, fresh};
    state->form = *form;
    state->number++;
    state->feed.wanted = false; /* until the first reading of the new one */
    SK_ASSERT(sys_worker_submit(state->worker, &s->job));
}

/* ---- life ---- */

int state_new(uv_loop_t *loop, const char *dir, state_changed_fn *changed, void *ctx,
              struct state **ret, struct sk_err *err)
{
    struct state *state = sk_xcalloc(1, sizeof(*state));

    (void)snprintf(state->dir, sizeof(state->dir), "%s", dir);
    if (strlen(dir) >= sizeof(state->dir)) {
        free(state);
        return sk_err_set(err, SK_ERR_INPUT, "the folder's name is too long");
    }
    if (state_form_read(dir, &state->form, err) < 0 ||
        (!state->form.etcd && store_open_sqlite(dir, &state->store, err) < 0)) {
        free(state);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    state->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    SK_ASSERT(state->stop_fd > 0); /* only without descriptors */
    state->at_work = state->form;
    state->number = 1;
    state->changed = changed;
    state->ctx = ctx;
    state->feed.state = state;
    (void)uv_timer_init(loop, &state->retry);
    state->retry.data = state;
    state->worker = sys_worker_new(loop, "store", JOBS_MAX);
    *ret = state;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void state_free(struct state *state)
{
    if (state == NULL) {
        return;
    }
    state->ending = true;
    SK_ASSERT(eventfd_write(state->stop_fd, 1) == 0);
    sys_worker_free(state->watcher);
    sys_worker_free(state->worker);
    store_close(state->feed.store);
    store_close(state->store);
    (void)close(state->stop_fd);
    uv_close((uv_handle_t *)&state->retry, on_timer_closed);
}
