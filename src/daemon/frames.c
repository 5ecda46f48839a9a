/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/frames.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "net/token.h"

#define INSTANCES_MAX 20000
#define LOG_TAIL_MAX 50
#define LABELS_MAX 64

/* Optional: of a node that runs its site's ingress. */
static int read_front(const struct sk_node *tree, struct control_event *ret, struct sk_err *err)
{
    const struct sk_node *front = sk_map_get(tree, SK_STR("front"));

    if (!front || front->kind == SK_NULL) {
        return 0;
    }
    if (front->kind == SK_MAP) {
        ret->u.beat.has_front = true;
        ret->u.beat.front_view = sk_map_int(front, "view", -1);
        ret->u.beat.front_requests = sk_map_int(front, "requests", -1);
        ret->u.beat.front_errors = sk_map_int(front, "errors", -1);
    }
    if (front->kind != SK_MAP || ret->u.beat.front_view < 0 || ret->u.beat.front_requests < 0 ||
        ret->u.beat.front_errors < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "beat: 'front' must hold view, requests, errors");
    }
    return 0;
}

int frame_read_beat(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                    struct control_event *ret, struct sk_err *err)
{
    const struct sk_node *heard = sk_map_seq(tree, "heard");
    uint32_t n = heard ? heard->count : 0;
    struct control_heard *rows;

    if (n > CONTROL_HEARD_MAX) {
        n = CONTROL_HEARD_MAX;
    }
    rows = SK_ARENA_ARRAY(arena, struct control_heard, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct sk_node *row = &heard->u.items[i];
        if (row->kind != SK_SEQ || row->count < 3 || row->u.items[0].kind != SK_STRING ||
            row->u.items[1].kind != SK_NUMBER || row->u.items[2].kind != SK_NUMBER ||
            sk_parse_int(row->u.items[1].u.text, -1, INT64_MAX, &rows[i].age_ms, err) < 0 ||
            sk_parse_int(row->u.items[2].u.text, -1, INT64_MAX, &rows[i].rtt_us, err) < 0) {
            return sk_err_set(err, SK_ERR_PROTOCOL,
                              "beat: 'heard' must hold [node, age_ms, rtt_us]");
        }
        rows[i].node = row->u.items[0].u.text;
    }
    *ret = (struct control_event){.kind = CONTROL_EV_BEAT};
    ret->u.beat.node = node;
    ret->u.beat.seq = sk_map_int(tree, "seq", 0);
    ret->u.beat.assign_rev = sk_map_int(tree, "assign_rev", 0);
    ret->u.beat.obs_rev = sk_map_int(tree, "obs_rev", 0);
    ret->u.beat.heard = rows;
    ret->u.beat.nheard = n;
    ret->u.beat.brief = heard == NULL;
    return read_front(tree, ret, err);
}

static int read_log_tail(const struct sk_node *tree, struct sk_arena *arena,
                         struct control_observation *ret, struct sk_err *err)
{
    const struct sk_node *tail = sk_map_seq(tree, "log_tail");
    uint32_t n = tail ? tail->count : 0;
    struct sk_str *lines;

    if (n > LOG_TAIL_MAX) {
        n = LOG_TAIL_MAX;
    }
    lines = SK_ARENA_ARRAY(arena, struct sk_str, n);
    for (uint32_t i = 0; i < n; i++) {
        if (tail->u.items[i].kind != SK_STRING) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "observe: 'log_tail' must hold strings");
        }
        lines[i] = tail->u.items[i].u.text;
    }
    ret->log_tail = lines;
    ret->nlog_tail = n;
    return 0;
}

static int read_observation(const struct sk_node *tree, struct sk_arena *arena,
                            struct control_observation *ret, struct sk_err *err)
{
    const struct sk_node *healthy, *exit_code, *signal_number;
    int state;

    if (tree->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "observe: an instance must be an object");
    }
    ret->id = sk_map_str(tree, "id", SK_STR(""));
    state = control_state_from_name(sk_map_str(tree, "state", SK_STR("")));
    if (ret->id.len == 0 || state < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "observe: an instance lacks a valid id or state");
    }
    ret->state = (enum control_instance_state)state;
    healthy = sk_map_get(tree, SK_STR("healthy"));
    ret->healthy = !healthy || healthy->kind != SK_BOOL ? CONTROL_HEALTH_NONE
                   : sk_str_is(healthy->u.text, "true") ? CONTROL_HEALTHY
                                                        : CONTROL_UNHEALTHY;
    ret->since_ms = sk_map_int(tree, "since_ms", 0);
    ret->restarts = sk_map_int(tree, "restarts", 0);
    exit_code = sk_map_get(tree, SK_STR("exit"));
    ret->has_exit = exit_code && exit_code->kind == SK_NUMBER;
    ret->exit = sk_map_int(tree, "exit", 0);
    signal_number = sk_map_get(tree, SK_STR("signal"));
    ret->has_signal = signal_number && signal_number->kind == SK_NUMBER;
    ret->signal = sk_map_int(tree, "signal", 0);
    ret->reason = sk_map_str(tree, "reason", SK_STR(""));
    ret->image_digest = sk_map_str(tree, "image_digest", SK_STR(""));
    return read_log_tail(tree, arena, ret, err);
}

int frame_read_observe(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                       struct control_event *ret, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "instances");
    struct control_observation *rows;

    if (!list || list->count > INSTANCES_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "observe: 'instances' is missing or longer than %d",
                          INSTANCES_MAX);
    }
    rows = SK_ARENA_ARRAY(arena, struct control_observation, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        if (read_observation(&list->u.items[i], arena, &rows[i], err) < 0) {
            return SK_ERR_PROTOCOL;
        }
    }
    *ret = (struct control_event){.kind = CONTROL_EV_OBSERVE};
    ret->u.observe.node = node;
    ret->u.observe.obs_rev = sk_map_int(tree, "obs_rev", 0);
    ret->u.observe.full = sk_map_bool(tree, "full", false);
    ret->u.observe.instances = rows;
    ret->u.observe.count = list->count;
    return 0;
}

int frame_read_lease(const struct sk_node *tree, struct sk_str node, struct sk_arena *arena,
                     struct control_event *ret, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "asks");
    struct control_lease_ask *rows;

    if (!list || list->count > CONTROL_ASKS_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "lease: 'asks' is missing or longer than %d",
                          CONTROL_ASKS_MAX);
    }
    rows = SK_ARENA_ARRAY(arena, struct control_lease_ask, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        int kind = -1;
        if (row->kind == SK_MAP) {
            kind = control_lease_ask_from_name(sk_map_str(row, "ask", SK_STR("")));
            rows[i].id = sk_map_str(row, "id", SK_STR(""));
            rows[i].epoch = sk_map_int(row, "epoch", -1);
        }
        if (kind < 0 || rows[i].id.len == 0 || rows[i].epoch < 0) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "lease: an ask lacks a valid id, ask or epoch");
        }
        rows[i].kind = (enum control_lease_ask_kind)kind;
    }
    *ret = (struct control_event){.kind = CONTROL_EV_LEASE};
    ret->u.lease.node = node;
    ret->u.lease.from = sk_map_str(tree, "from", SK_STR(""));
    ret->u.lease.seq = sk_map_int(tree, "seq", 0);
    ret->u.lease.asks = rows;
    ret->u.lease.nasks = list->count;
    return 0;
}

int frame_read_drilled(const struct sk_node *tree, struct sk_str node, struct control_event *ret,
                       struct sk_err *err)
{
    int op = control_drill_op_from_name(sk_map_str(tree, "op", SK_STR("")));
    int64_t number = sk_map_int(tree, "number", -1);

    if (op < 0 || number < 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "drilled: a valid number and op are needed");
    }
    *ret = (struct control_event){.kind = CONTROL_EV_DRILLED};
    ret->u.drilled.node = node;
    ret->u.drilled.number = number;
    ret->u.drilled.op = (enum control_drill_op)op;
    ret->u.drilled.can = sk_map_bool(tree, "can", false);
    ret->u.drilled.why = sk_map_str(tree, "why", SK_STR(""));
    return 0;
}

static int read_labels(const struct sk_node *tree, struct sk_arena *arena, struct control_join *ret,
                       struct sk_err *err)
{
    const struct sk_node *labels = sk_map_get(tree, SK_STR("labels"));
    struct sk_kv *rows;

    if (!labels || labels->kind == SK_NULL) {
        return 0;
    }
    if (labels->kind != SK_MAP || labels->count > LABELS_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "join: 'labels' must be an object of at most %d",
                          LABELS_MAX);
    }
    rows = SK_ARENA_ARRAY(arena, struct sk_kv, labels->count);
    for (uint32_t i = 0; i < labels->count; i++) {
        if (!sk_node_is_scalar(&labels->u.members[i].value)) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "join: a label must be a string");
        }
        rows[i].key = labels->u.members[i].key;
        rows[i].value = labels->u.members[i].value.u.text;
    }
    ret->labels = rows;
    ret->nlabels = labels->count;
    return 0;
}

int frame_read_join(const struct sk_node *tree, struct sk_arena *arena, struct control_join *ret,
                    struct sk_err *err)
{
    struct control_join join = {0};
    struct net_token token;
    char hash[SK_SHA256_HEX];

    if (net_token_parse(sk_map_str(tree, "token", SK_STR("")), &token, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    net_token_hash(&token, hash);
    net_token_wipe(&token);
    join.token_hash = sk_arena_str(arena, sk_str(hash));
    join.csr = sk_map_str(tree, "csr", SK_STR(""));
    join.node = sk_map_str(tree, "node", SK_STR(""));
    join.site = sk_map_str(tree, "site", SK_STR(""));
    join.address = sk_map_str(tree, "address", SK_STR(""));
    join.machine_id = sk_map_str(tree, "machine_id", SK_STR(""));
    join.incarnation = sk_map_str(tree, "incarnation", SK_STR(""));
    join.cpus_nano = sk_map_int(tree, "cpus_nano", 0);
    join.memory_bytes = sk_map_int(tree, "memory_bytes", 0);
    join.disk_bytes = sk_map_int(tree, "disk_bytes", 0);
    if (join.csr.len == 0 || !sk_str_is_label(join.node) || !sk_str_is_label(join.site) ||
        join.address.len == 0) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "join: csr, node, site and address are needed");
    }
    if (read_labels(tree, arena, &join, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    *ret = join;
    return 0;
}

void frame_write_beat(const struct frame_beat *beat, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "beat");
    sk_jw_kint(&w, "seq", beat->seq);
    sk_jw_kint(&w, "assign_rev", beat->assign_rev);
    sk_jw_kint(&w, "obs_rev", beat->obs_rev);
    if (!beat->brief) {
        sk_jw_key(&w, "heard");
        sk_jw_arr(&w);
        for (size_t i = 0; i < beat->nheard; i++) {
            sk_jw_arr(&w);
            sk_jw_cstr(&w, beat->heard[i].node);
            sk_jw_int(&w, beat->heard[i].age_ms);
            sk_jw_int(&w, beat->heard[i].rtt_us);
            sk_jw_arr_end(&w);
        }
        sk_jw_arr_end(&w);
    }
    if (beat->front) {
        sk_jw_key(&w, "front");
        sk_jw_obj(&w);
        sk_jw_kint(&w, "view", beat->front->view);
        sk_jw_kint(&w, "requests", beat->front->requests);
        sk_jw_kint(&w, "errors", beat->front->errors);
        sk_jw_obj_end(&w);
    }
    sk_jw_obj_end(&w);
}

void frame_write_certificate(const struct frame_certificate *c, bool renewal, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", renewal ? "renewed" : "joined");
    sk_jw_kstr(&w, "cert", c->cert);
    if (!renewal) {
        sk_jw_kstr(&w, "ca", c->ca);
        sk_jw_kstr(&w, "cluster", c->cluster);
        sk_jw_kstr(&w, "node", c->node);
        sk_jw_kstr(&w, "site", c->site);
        sk_jw_kstr(&w, "prefix", c->prefix);
    }
    sk_jw_obj_end(&w);
}
