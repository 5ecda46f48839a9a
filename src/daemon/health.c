/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/address.h"
#include "store/etcd_admin.h"
#include "sys/clock.h"

#define GOOD_MS 5000
#define MEMBER_MS 700
#define WAITING_MAX 64

struct waiter {
    health_fn *done;
    void *ctx;
};

/* What one look found, by the place of the endpoint. */
struct look {
    struct sys_job job;
    struct health *health;
    struct state_form form;
    struct store_etcd_status status[HEALTH_ROWS_MAX];
    bool ok[HEALTH_ROWS_MAX];
    struct sk_err err[HEALTH_ROWS_MAX];
    struct store_etcd_alarm alarms[STORE_ETCD_ALARMS_MAX];
    size_t nalarms;
};

struct health {
    char dir[400];
    uv_loop_t *loop;
    struct sys_worker *worker;
    struct waiter waiting[WAITING_MAX];
    size_t nwaiting;
    bool looking, ending;
    int64_t good_until_ms;
    struct control_member_health rows[HEALTH_ROWS_MAX];
    size_t count;
    /* of the caller that began the look under way */
    struct control_member_health names[CONTROL_MEMBERS_MAX];
    char addresses[CONTROL_MEMBERS_MAX][NET_HOST_SIZE];
    size_t nnames;
};

static void look_run(struct sys_job *job)
{
    struct look *look = (struct look *)job;
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd options;
    struct store_etcd_admin *admin = NULL;
    struct sk_err err = {0};

    state_form_options(look->health->dir, &look->form, paths, urls, &options);
    options.attempt_ms = options.deadline_ms = MEMBER_MS;
    if (store_etcd_admin_new(&options, &admin, &err) < 0) {
        for (size_t i = 0; i < look->form.nendpoints; i++) {
            look->err[i] = err;
        }
        return;
    }
    for (size_t i = 0; i < look->form.nendpoints; i++) {
        look->ok[i] = store_etcd_status(admin, i, &look->status[i], &look->err[i]) == 0;
    }
    /* without a majority nobody can say: then no alarm is the least of it */
    if (store_etcd_alarms(admin, look->alarms, &look->nalarms, NULL) < 0) {
        look->nalarms = 0;
    }
    store_etcd_admin_free(admin);
}

static const char *node_at(const struct health *h, const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : url;
    char name[NET_HOST_SIZE];
    uint16_t port;

    if (net_address_split(sk_str(host), 2379, name, &port, NULL) == 0) {
        for (size_t i = 0; i < h->nnames; i++) {
            if (strcmp(h->addresses[i], name) == 0) {
                return h->names[i].node;
            }
        }
    }
    return "";
}

static const char *alarm_of(const struct look *look, const char *member)
{
    for (size_t i = 0; i < look->nalarms; i++) {
        if (strcmp(look->alarms[i].member, member) == 0) {
            return look->alarms[i].kind == STORE_ETCD_NOSPACE ? "nospace" : "damaged";
        }
    }
    return "";
}

/* An alarm of a member that does not answer stops the others too: it may be any of those. */
static const char *alarm_of_silent(const struct look *look)
{
    for (size_t i = 0; i < look->nalarms; i++) {
        bool known = false;
        for (size_t k = 0; k < look->form.nendpoints; k++) {
            known = known ||
                    (look->ok[k] && strcmp(look->alarms[i].member, look->status[k].member) == 0);
        }
        if (!known) {
            return look->alarms[i].kind == STORE_ETCD_NOSPACE ? "nospace" : "damaged";
        }
    }
    return "";
}

static void take(struct health *h, const struct look *look)
{
    int64_t newest = 0;

    for (size_t i = 0; i < look->form.nendpoints; i++) {
        if (look->ok[i] && look->status[i].raft_index > newest) {
            newest = look->status[i].raft_index;
        }
    }
    h->count = look->form.nendpoints;
    for (size_t i = 0; i < h->count; i++) {
        struct control_member_health *row = &h->rows[i];
        const struct store_etcd_status *s = &look->status[i];
        *row = (struct control_member_health){.ok = look->ok[i]};
        (void)snprintf(row->node, sizeof(row->node), "%s", node_at(h, look->form.endpoints[i]));
        (void)snprintf(row->endpoint, sizeof(row->endpoint), "%s", look->form.endpoints[i]);
        if (!row->ok) {
            (void)snprintf(row->error, sizeof(row->error), "%.200s", look->err[i].msg);
            (void)snprintf(row->alarm, sizeof(row->alarm), "%s", alarm_of_silent(look));
            continue;
        }
        row->leads = s->leader[0] != '\0' && strcmp(s->leader, s->member) == 0;
        row->learner = s->learner;
        row->db_bytes = s->db_bytes;
        row->db_bytes_used = s->db_bytes_used;
        row->behind = newest - s->raft_applied > 0 ? newest - s->raft_applied : 0;
        (void)snprintf(row->version, sizeof(row->version), "%s", s->version);
        (void)snprintf(row->alarm, sizeof(row->alarm), "%s", alarm_of(look, s->member));
    }
}

static void look_done(struct sys_job *job)
{
    struct look *look = (struct look *)job;
    struct health *h = look->health;
    struct waiter waiting[WAITING_MAX];
    size_t n = h->nwaiting;

    h->looking = false;
    if (!h->ending) {
        take(h, look);
        h->good_until_ms = sys_now_ms() + GOOD_MS;
        memcpy(waiting, h->waiting, sizeof(waiting));
        h->nwaiting = 0;
        for (size_t i = 0; i < n; i++) {
            waiting[i].done(waiting[i].ctx, h->rows, h->count);
        }
    }
    free(look);
}

static void begin(struct health *h, const struct state_form *form,
                  const struct control_member *members, size_t count)
{
    struct look *look = sk_xcalloc(1, sizeof(*look));

    h->nnames = count < CONTROL_MEMBERS_MAX ? count : CONTROL_MEMBERS_MAX;
    for (size_t i = 0; i < h->nnames; i++) {
        (void)snprintf(h->names[i].node, sizeof(h->names[i].node), "%.*s", SK_PRI(members[i].node));
        (void)snprintf(h->addresses[i], sizeof(h->addresses[i]), "%.*s",
                       SK_PRI(members[i].address));
    }
    look->job = (struct sys_job){look_run, look_done};
    look->health = h;
    look->form = *form;
    if (count > 0 && members[0].client_url.len > 0) {
        look->form.nendpoints = 0;
        for (size_t i = 0; i < h->nnames && i < HEALTH_ROWS_MAX; i++) {
            (void)snprintf(look->form.endpoints[look->form.nendpoints++], STATE_URL_SIZE, "%.*s",
                           SK_PRI(members[i].client_url));
        }
    }
    if (h->worker == NULL) {
        h->worker = sys_worker_new(h->loop, "health", 4);
    }
    h->looking = true;
    SK_ASSERT(sys_worker_submit(h->worker, &look->job));
}

void health_ask(struct health *h, const struct state_form *form,
                const struct control_member *members, size_t count, bool fresh, health_fn *done,
                void *ctx)
{
    if (!form->etcd || h->nwaiting == WAITING_MAX) {
        done(ctx, h->rows, 0);
        return;
    }
    if (!fresh && !h->looking && sys_now_ms() < h->good_until_ms) {
        done(ctx, h->rows, h->count);
        return;
    }
    h->waiting[h->nwaiting++] = (struct waiter){done, ctx};
    if (!h->looking) {
        begin(h, form, members, count);
    }
}

struct health *health_new(uv_loop_t *loop, const char *dir)
{
    struct health *h = sk_xcalloc(1, sizeof(*h));

    h->loop = loop;
    (void)snprintf(h->dir, sizeof(h->dir), "%s", dir);
    return h;
}

void health_free(struct health *h)
{
    if (h != NULL) {
        h->ending = true;
        sys_worker_free(h->worker);
        for (size_t i = 0; i < h->nwaiting; i++) {
            h->waiting[i].done(h->waiting[i].ctx, h->rows, 0);
        }
        free(h);
    }
}
