/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/term.h"
#include "net/frame.h"
#include "sys/clock.h"
#include "sys/file.h"

#define LOG_TAIL_LINES 10

static int keep_file(const struct agent *agent, const char *name, struct sk_str bytes,
                     struct sk_err *err)
{
    char path[AGENT_PATH_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/%s", agent->dir, name);
    return sys_file_write(path, bytes, 0600, err);
}

static void forget_file(const struct agent *agent, const char *name)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", agent->dir, name);
    if (sys_file_remove(path, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "an older assignment stays", &err);
    }
}

static void want_prefetch(struct agent *agent)
{
    for (size_t i = 0; agent->images && i < agent->assigned->nprefetch; i++) {
        const struct image_name *name = &agent->assigned->prefetch[i];
        images_want(agent->images, name->ref, name->digest, NULL, NULL);
    }
}

static void post_assign(struct agent *agent)
{
    const struct assign_set *set = agent->assigned;
    struct agent_desired *desired = sk_xcalloc(set->count ? set->count : 1, sizeof(*desired));
    struct agent_event e = {.kind = AGENT_ASSIGN, .desired = desired, .ndesired = set->count};

    for (size_t i = 0; i < set->count; i++) {
        assign_desired(&set->items[i], &desired[i]);
    }
    agent_post(agent, &e);
    free(desired);
}

bool frame_term_counts(struct agent *agent, const struct sk_node *tree)
{
    int64_t term = sk_map_int(tree, "term", -1);

    if (term_take(&agent->term, term)) {
        return true;
    }
    if (agent->term_below != term) {
        agent->term_below = term;
        sk_log(SK_LOG_WARN, "a deposed leader is not heard", "term=%" PRId64 " newest=%" PRId64,
               term, agent->term);
    }
    return false;
}

int frame_take_assign(struct agent *agent, const struct sk_node *tree, struct sk_str bytes,
                      bool keep, struct sk_err *err)
{
    struct assign_set *set;
    int rc = assign_parse(tree, &set, err);

    if (rc < 0) {
        return rc;
    }
    if (!frame_term_counts(agent, tree)) {
        assign_free(set);
        return 0;
    }
    if (keep) {
        struct sk_err why = {0};
        /* What cannot be kept is done all the same: a full disk must not stop a failover. An older
         * one must not be found in its place: it would stop what has begun since. */
        if (keep_file(agent, "assignment.json", bytes, &why) < 0) {
            sk_log_err(SK_LOG_WARN, "assignment not kept", &why);
            forget_file(agent, "assignment.json");
        }
    }
    assign_free(agent->assigned);
    agent->assigned = set;
    post_assign(agent);
    want_prefetch(agent);
    peers_observe_soon(agent); /* also says which assignment is in force */
    return 0;
}

/* "10.210.3.0/24": instances get the addresses of it, the node is .1 */
int frame_take_prefix(struct agent *agent, struct sk_str prefix, struct sk_err *err)
{
    char text[64], *slash;
    struct in_addr net;
    long bits;

    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(prefix));
    slash = strchr(text, '/');
    bits = slash ? strtol(slash + 1, NULL, 10) : 0;
    if (slash) {
        *slash = '\0';
    }
    if (!slash || bits < 8 || bits > 30 || inet_pton(AF_INET, text, &net) != 1) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "'%.*s' is no prefix", SK_PRI(prefix));
    }
    net.s_addr = htonl(ntohl(net.s_addr) + 1);
    (void)inet_ntop(AF_INET, &net, agent->gateway, sizeof(agent->gateway));
    agent->prefix_bits = (int)bits;
    (void)snprintf(agent->prefix, sizeof(agent->prefix), "%.*s", SK_PRI(prefix));
    oci_network_up(agent);
    return 0;
}

int frame_take_node(struct agent *agent, const struct sk_node *tree, struct sk_str bytes, bool keep,
                    struct sk_err *err)
{
    struct sk_str node = sk_map_str(tree, "node", SK_STR(""));
    struct sk_str site = sk_map_str(tree, "site", SK_STR(""));
    struct sk_str prefix = sk_map_str(tree, "prefix", SK_STR(""));
    struct sk_err why = {0};

    if (!sk_str_is_label(node) || !sk_str_is_label(site)) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "a node frame needs 'node' and 'site'");
    }
    if (prefix.len > 0 && !sk_str_is(prefix, agent->prefix) &&
        frame_take_prefix(agent, prefix, err) < 0) {
        return err->code;
    }
    (void)snprintf(agent->node, sizeof(agent->node), "%.*s", SK_PRI(node));
    (void)snprintf(agent->site, sizeof(agent->site), "%.*s", SK_PRI(site));
    if (keep && keep_file(agent, "node.json", bytes, &why) < 0) {
        sk_log_err(SK_LOG_WARN, "node's name not kept", &why);
    }
    return 0;
}

static void load_one(struct agent *agent, const char *name,
                     int (*take)(struct agent *, const struct sk_node *, struct sk_str, bool,
                                 struct sk_err *))
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf buf = SK_BUF_INIT;
    struct net_frame frame;
    struct sk_err err = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", agent->dir, name);
    if (sys_file_read(path, NET_FRAME_BYTES_MAX, &buf, &err) == 0 &&
        net_frame_parse(sk_buf_str(&buf), arena, &frame, &err) == 0) {
        (void)take(agent, frame.tree, frame.bytes, false, &err);
    }
    if (err.code != SK_OK && err.code != SK_ERR_NOT_FOUND) {
        sk_log_err(SK_LOG_WARN, "kept file not usable", &err);
    }
    sk_buf_release(&buf);
    sk_arena_free(arena);
}

void frame_load_kept(struct agent *agent)
{
    load_one(agent, "node.json", frame_take_node);
    load_one(agent, "assignment.json", frame_take_assign);
}

static void write_health(struct sk_jw *w, const struct agent_instance *it)
{
    if (it->phase == AGENT_RUNNING) {
        sk_jw_kbool(w, "healthy", it->healthy == 1);
    } else {
        sk_jw_knull(w, "healthy");
    }
}

static void write_instance(const struct agent *agent, const struct agent_instance *it, int64_t wall,
                           int64_t now, struct sk_jw *w)
{
    const struct assignment *a = assign_find(agent->assigned, it->desired.id);
    const char *state = agent_instance_state(it);
    struct work *work;
    char hex[65];

    sk_jw_obj(w);
    sk_jw_kcstr(w, "id", it->desired.id);
    sk_jw_kcstr(w, "state", state);
    write_health(w, it);
    sk_jw_kint(w, "since_ms", wall - (now - it->since_ms));
    sk_jw_kint(w, "restarts", it->run > 1 ? it->run - 1 : 0);
    if (it->exit >= 0) {
        sk_jw_kint(w, "exit", it->exit);
    } else {
        sk_jw_knull(w, "exit");
    }
    if (it->signal > 0) {
        sk_jw_kint(w, "signal", it->signal);
    } else {
        sk_jw_knull(w, "signal");
    }
    sk_jw_kcstr(w, "reason", it->reason);
    HASH_FIND_STR(agent->works, it->desired.id, work);
    if (work && work->warning[0]) {
        sk_jw_kcstr(w, "warning", work->warning);
    }
    if (a && a->driver == DRIVER_OCI && agent->images &&
        images_hex_of(agent->images, a->image.ref, a->image.digest, hex)) {
        char digest[80];
        (void)snprintf(digest, sizeof(digest), "sha256:%s", hex);
        sk_jw_kcstr(w, "image_digest", digest);
    }
    if (strcmp(state, "failed") == 0) {
        struct sk_buf tail = SK_BUF_INIT;
        logs_tail_json(agent, it->desired.id, LOG_TAIL_LINES, &tail);
        sk_jw_key(w, "log_tail");
        sk_jw_raw(w, sk_buf_str(&tail));
        sk_buf_release(&tail);
    }
    sk_jw_obj_end(w);
}

/* An instance that is to be stopped and was never here is as good as stopped. */
static bool write_all(const struct agent *agent, uint64_t since, struct sk_jw *w)
{
    int64_t wall = sys_wall_ms(), now = sys_now_ms();
    bool any = false;

    for (size_t i = 0; i < agent->state.count; i++) {
        const struct agent_instance *it = agent->state.items[i];
        if (it->changed > since && agent_instance_shown(it, now)) {
            write_instance(agent, it, wall, now, w);
            any = true;
        }
    }
    return any;
}

bool frame_write_observe(struct agent *agent, uint64_t since, struct sk_buf *out)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_jw w;
    bool any;

    sk_jw_init(&w, &json);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "observe");
    sk_jw_kint(&w, "obs_rev", agent->obs_rev);
    sk_jw_kint(&w, "assign_rev", agent->assigned ? agent->assigned->rev : 0);
    sk_jw_kint(&w, "term", agent->term);
    sk_jw_kbool(&w, "full", since == 0);
    sk_jw_key(&w, "instances");
    sk_jw_arr(&w);
    any = write_all(agent, since, &w);
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    if (net_frame_write(sk_buf_str(&json), out, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "observation not sent", &err);
        any = false;
    }
    sk_buf_release(&json);
    return any || since == 0;
}
