/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/ingress.h"
#include "net/ingress_count.h"

struct front {
    uv_loop_t *loop;
    const struct daemon_config *config;
    struct net_identity identity;
    struct ingress *ingress; /* NULL: this node holds none */
    struct ingress_counter *counter;
    int64_t taken_rev, served_rev; /* of the last view that was taken, that HAProxy serves */
    unsigned reports;
    struct sk_buf view; /* the view that came while the last ingress was still stopping, as JSON */
    bool stopping;
    bool freed;
};

static void on_event(void *ctx, enum ingress_event event, const struct sk_err *err)
{
    static const char *const names[] = {"ingress started", "ingress reloaded", "ingress changed",
                                        "ingress died", "ingress failed"};
    (void)ctx;
    sk_log(event >= INGRESS_DIED ? SK_LOG_WARN : SK_LOG_DEBUG, names[event], "error=\"%s\"",
           event >= INGRESS_DIED && err ? err->msg : "");
}

static int start(struct front *front, struct sk_err *err)
{
    char dir[512];
    struct ingress_options options = {
        .loop = front->loop,
        .dir = dir,
        .bind_address =
            strcmp(front->config->listen, "0.0.0.0") == 0 ? NULL : front->config->listen,
        .http_port = front->config->ingress_port,
        .inter_port = front->config->relay_port,
        .event = on_event,
        .ctx = front,
    };

    (void)snprintf(dir, sizeof(dir), "%s/ingress", front->config->dir);
    if (ingress_new(&options, &front->ingress, err) < 0) {
        return err->code;
    }
    return ingress_set_identity(front->ingress, sk_str(front->identity.cert_pem),
                                sk_str(front->identity.key_pem), sk_str(front->identity.ca_pem),
                                err);
}

/* Every other beat, and when a view comes: what HAProxy counted is lost when it reloads. */
#define COUNT_EVERY 2

bool front_report(struct front *front, struct frame_front *ret)
{
    if (!front->ingress || front->stopping || !ingress_status(front->ingress).running) {
        return false;
    }
    if (front->reports++ % COUNT_EVERY == 0) {
        ingress_counter_ask(front->counter);
    }
    if (ingress_status(front->ingress).settled) {
        front->served_rev = front->taken_rev;
    }
    struct ingress_counts counts = ingress_counter_total(front->counter);
    *ret =
        (struct frame_front){front->served_rev, (int64_t)counts.requests, (int64_t)counts.errors};
    return true;
}

static int apply(struct front *front, const struct sk_node *node, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct ingress_view view;
    int r = front->ingress ? 0 : start(front, err);

    r = r < 0 ? r : ingress_view_read(arena, node, &view, err);
    r = r < 0 ? r : ingress_apply(front->ingress, &view, err);
    if (r == 0) {
        front->taken_rev = sk_map_int(node, "rev", 0);
        ingress_counter_ask(front->counter);
    }
    sk_arena_free(arena);
    return r;
}

static void take_view(struct front *front, const struct sk_node *node)
{
    struct sk_err err = {0};

    if (apply(front, node, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "routing view refused", &err);
    }
}

static void release(struct front *front)
{
    ingress_counter_free(front->counter);
    net_identity_release(&front->identity);
    sk_buf_release(&front->view);
    free(front);
}

static void on_stopped(void *ctx)
{
    struct front *front = ctx;

    ingress_free(front->ingress);
    front->ingress = NULL;
    front->stopping = false;
    if (front->freed) {
        release(front);
    } else if (front->view.len) {
        struct sk_arena *arena = sk_arena_new();
        const struct sk_node *node;
        if (sk_json_read(arena, "view", sk_buf_str(&front->view), NULL, &node, NULL) == 0) {
            take_view(front, node);
        }
        sk_buf_clear(&front->view);
        sk_arena_free(arena);
    }
}

static void stop(struct front *front)
{
    if (front->ingress && !front->stopping) {
        front->stopping = true;
        ingress_stop(front->ingress, on_stopped, front);
    }
}

static void take_revoked(struct front *front, const struct sk_node *list)
{
    struct sk_str *serials;
    struct sk_err err = {0};
    size_t n = 0;

    if (!list) {
        return;
    }
    serials = sk_xcalloc(list->count, sizeof(*serials));
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->u.items[i].kind == SK_STRING) {
            serials[n++] = list->u.items[i].u.text;
        }
    }
    if (ingress_set_revoked(front->ingress, serials, n, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "revoked serials not taken by the ingress", &err);
    }
    free(serials);
}

void front_take(struct front *front, const struct sk_node *assign)
{
    const struct sk_node *node = sk_map_get(assign, SK_STR("ingress"));

    if (!node || node->kind != SK_MAP) {
        sk_buf_clear(&front->view);
        stop(front);
        return;
    }
    if (front->stopping) {
        struct sk_jw w;
        sk_buf_clear(&front->view);
        sk_jw_init(&w, &front->view);
        sk_jw_node(&w, node);
        return;
    }
    take_view(front, node);
    if (front->ingress) {
        take_revoked(front, sk_map_seq(assign, "revoked"));
    }
}

void front_set_identity(struct front *front, const struct net_identity *identity)
{
    struct net_identity fresh = {0};
    struct sk_err err = {0};
    int r = net_identity_make(sk_str(identity->key_pem), sk_str(identity->cert_pem),
                              sk_str(identity->ca_pem), &fresh, &err);

    if (r == 0 && front->ingress && !front->stopping) {
        r = ingress_set_identity(front->ingress, sk_str(fresh.cert_pem), sk_str(fresh.key_pem),
                                 sk_str(fresh.ca_pem), &err);
    }
    if (r < 0) {
        sk_log_err(SK_LOG_ERROR, "ingress keeps its old certificate", &err);
        net_identity_release(&fresh);
        return;
    }
    net_identity_release(&front->identity);
    front->identity = fresh;
}

struct front *front_new(uv_loop_t *loop, const struct daemon_config *config)
{
    struct front *front = sk_xcalloc(1, sizeof(*front));
    char dir[512];

    front->loop = loop;
    front->config = config;
    (void)snprintf(dir, sizeof(dir), "%s/ingress", config->dir);
    front->counter = ingress_counter_new(loop, dir);
    return front;
}

void front_free(struct front *front)
{
    if (!front) {
        return;
    }
    front->freed = true;
    if (!front->ingress) {
        release(front);
    } else {
        stop(front);
    }
}
