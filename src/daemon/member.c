/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/member.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "control/control.h"
#include "daemon/agent_link.h"
#include "daemon/frames.h"
#include "daemon/front.h"
#include "daemon/observed.h"
#include "daemon/pulse_out.h"
#include "model/term.h"
#include "net/channel.h"
#include "net/enrol.h"
#include "net/probe.h"
#include "net/pulse.h"
#include "sys/clock.h"
#include "sys/file.h"

#define RENEW_RETRY_MS 60000
#define RENEW_SOON_MS 3000

struct member {
    uv_loop_t *loop;
    const struct daemon_config *config;
    struct net_revoked *revoked;
    struct net_identity identity;
    struct net_client *client;
    struct agent_link *agent;
    struct net_probe *probe;
    struct pulse_out *pulse;
    char probe_key[2 * NET_PROBE_KEY_BYTES + 1]; /* as last taken; "" until then */
    struct front *front;
    struct observed observed;
    struct sk_buf assign; /* the last frame, as it came */
    const struct net_peer
        *led_by;              /* who sent it; NULL: that connection is gone, or there was none */
    int64_t term;             /* the highest leader's that anything was taken from */
    int64_t term_below;       /* the last lower one that was refused, so that it is said once */
    struct daemon_config own; /* what of it changes while this runs: controls */
    bool own_unkept;          /* they are a standby's word, which is not kept for the next start */
    int64_t seq;
    unsigned beats;                /* by channel, those that were left out counted too */
    int64_t said_assign, said_obs; /* what all control nodes were told by channel */
    char refused[SK_ERR_MSG_MAX];  /* the last of protocols, so that it is logged once */
    bool agent_left; /* is said with the next beat: at a stop of both halves there is none */
    bool resend; /* a control node's queue was full: it missed observations, so all get the whole */
    int64_t renew_at_ms; /* wall clock */
    uv_timer_t beat;
    void (*renewed)(void *ctx, const struct net_identity *identity);
    void (*control_frame)(void *ctx, struct net_peer *peer, const struct net_frame *frame);
    void (*up)(void *ctx);
    void (*seat)(void *ctx, const struct net_frame *frame);
    bool (*take_pulse)(void *ctx, const uint8_t *bytes, size_t len,
                       uint8_t ret[NET_PULSE_ANSWER_BYTES]);
    void *ctx;
};

/* ---- up: to the control nodes ---- */

static void write_beat(struct member *member, bool brief, struct sk_buf *out)
{
    struct frame_heard heard[NET_PROBE_TARGETS_MAX];
    struct frame_beat beat = {
        .seq = ++member->seq,
        .assign_rev = member->observed.assign_rev,
        .obs_rev = member->observed.obs_rev,
        .heard = heard,
        .nheard = brief ? 0 : net_probe_count(member->probe),
        .brief = brief,
    };
    struct frame_front front;

    beat.front = member->front && front_report(member->front, &front) ? &front : NULL;
    SK_ASSERT(beat.nheard <= NET_PROBE_TARGETS_MAX);
    for (size_t i = 0; i < beat.nheard; i++) {
        struct net_heard h;
        net_probe_heard(member->probe, i, &h);
        heard[i] = (struct frame_heard){h.node, h.age_ms, h.rtt_us};
    }
    frame_write_beat(&beat, out);
}

static void send_beat(struct member *member)
{
    struct sk_buf frame = SK_BUF_INIT;

    write_beat(member, false, &frame);
    if (net_client_send_all(member->client, sk_buf_str(&frame)) == net_client_up(member->client)) {
        member->said_assign = member->observed.assign_rev;
        member->said_obs = member->observed.obs_rev;
    }
    sk_buf_release(&frame);
}

static bool is_uncertain(void *ctx, const struct net_peer *peer)
{
    return !pulse_out_is_calm(((struct member *)ctx)->pulse, peer);
}

/* Who is surely reached by datagrams is spared most of these; see net/pulse.h. What was taken of an
 * assignment is believed by channel alone, so that goes at once. */
static void send_due_beat(struct member *member)
{
    struct sk_buf frame = SK_BUF_INIT;

    if (member->beats++ % NET_PULSE_CALM_BEATS == 0 ||
        member->said_assign != member->observed.assign_rev ||
        member->said_obs != member->observed.obs_rev) {
        send_beat(member);
        return;
    }
    write_beat(member, false, &frame);
    (void)net_client_send_some(member->client, sk_buf_str(&frame), is_uncertain, member);
    sk_buf_release(&frame);
}

static void on_write_pulse(void *ctx, bool brief, struct sk_buf *out)
{
    write_beat(ctx, brief, out);
}

static void on_send_pulse(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *to)
{
    net_probe_send(((struct member *)ctx)->probe, bytes, len, to);
}

static void on_pulse(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from)
{
    struct member *member = ctx;
    uint8_t answer[NET_PULSE_ANSWER_BYTES];

    if (member->take_pulse && member->take_pulse(member->ctx, bytes, len, answer)) {
        net_probe_send(member->probe, answer, sizeof(answer), from);
    } else {
        pulse_out_answer(member->pulse, bytes, len);
    }
}

static void send_full(struct member *member, struct net_peer *peer)
{
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_err err = {0};

    if (!member->observed.known) {
        return; /* the agent's first frame goes to everybody */
    }
    observed_write(&member->observed, &frame);
    if (net_send(peer, sk_buf_str(&frame), &err) < 0) {
        sk_log_err(SK_LOG_WARN, "observations not sent", &err);
        net_peer_close(peer, NULL); /* the next connection brings them */
    }
    sk_buf_release(&frame);
}

static void resend_full(struct member *member)
{
    struct sk_buf frame = SK_BUF_INIT;

    observed_write(&member->observed, &frame);
    member->resend =
        net_client_send_all(member->client, sk_buf_str(&frame)) < net_client_up(member->client);
    sk_buf_release(&frame);
}

static void maybe_renew(struct member *member)
{
    struct sk_buf frame = SK_BUF_INIT;
    struct sk_err err = {0};
    int64_t now = sys_wall_ms();

    /* it became a control node: its certificate must say so before anybody believes it */
    bool urgent = member->own.is_control && member->identity.info.kind != NET_CERT_CONTROL;

    if (urgent && member->renew_at_ms > now + RENEW_SOON_MS) {
        member->renew_at_ms = now;
    }
    if (now < member->renew_at_ms || net_client_up(member->client) == 0) {
        return;
    }
    member->renew_at_ms = now + (urgent ? RENEW_SOON_MS : RENEW_RETRY_MS);
    if (net_renew_request(&member->identity, &frame, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "certificate not renewed", &err);
    } else {
        (void)net_client_send_all(member->client, sk_buf_str(&frame));
    }
    sk_buf_release(&frame);
}

static void on_beat(uv_timer_t *timer)
{
    struct member *member = timer->data;

    if (member->agent_left) {
        member->agent_left = false;
        sk_log(SK_LOG_WARN, "agent disconnected", "%s", "");
    }
    send_due_beat(member);
    if (member->resend) {
        resend_full(member);
    }
    maybe_renew(member);
}

/* ---- down: from the control nodes ---- */

static void take_revoked(struct member *member, const struct sk_node *frame)
{
    const struct sk_node *list = sk_map_seq(frame, "revoked");

    for (uint32_t i = 0; list && i < list->count; i++) {
        if (list->u.items[i].kind == SK_STRING) {
            net_revoked_add_serial(member->revoked, list->u.items[i].u.text);
        }
    }
    (void)net_client_recheck(member->client);
}

/*
 * The key of the witness probes is kept beside the identity: a skerryd that starts again while
 * control is out of reach must go on answering, or the others would count its node as silent.
 */
static void key_path(const struct member *member, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s/identity/probe.key", member->config->dir);
}

static void use_key(struct member *member, struct sk_str hex)
{
    uint8_t key[NET_PROBE_KEY_BYTES];

    if (sk_unhex(hex, key, sizeof(key))) {
        net_probe_set_key(member->probe, key);
        explicit_bzero(key, sizeof(key));
    }
}

static void take_key(struct member *member, struct sk_str hex)
{
    struct sk_err err = {0};
    char path[512];

    if (hex.len != 2 * NET_PROBE_KEY_BYTES || sk_str_is(hex, member->probe_key)) {
        return;
    }
    (void)snprintf(member->probe_key, sizeof(member->probe_key), "%.*s", SK_PRI(hex));
    use_key(member, hex);
    key_path(member, path, sizeof(path));
    if (sys_file_write(path, hex, 0600, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "probe key not kept", &err);
    }
}

static void load_key(struct member *member)
{
    struct sk_buf hex = SK_BUF_INIT;
    char path[512];

    key_path(member, path, sizeof(path));
    if (sys_file_read(path, 1024, &hex, NULL) == 0) { /* none yet: the first assignment brings it */
        use_key(member, sk_buf_str(&hex));
    }
    if (hex.ptr) {
        explicit_bzero(hex.ptr, hex.cap);
    }
    sk_buf_release(&hex);
}

static void take_probes(struct member *member, const struct sk_node *frame)
{
    const struct sk_node *list = sk_map_seq(frame, "probe");
    struct net_probe_target targets[NET_PROBE_TARGETS_MAX];
    struct sk_err err = {0};
    size_t n = 0;

    take_key(member, sk_map_str(frame, "probe_key", SK_STR("")));
    for (uint32_t i = 0; list && i < list->count && n < NET_PROBE_TARGETS_MAX; i++) {
        const struct sk_node *row = &list->u.items[i];
        if (row->kind == SK_MAP) {
            targets[n].node = sk_map_str(row, "node", SK_STR("")).ptr;
            targets[n].address = sk_map_str(row, "address", SK_STR("")).ptr;
            n++;
        }
    }
    if (net_probe_set_targets(member->probe, targets, n, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "probe targets refused", &err);
    }
}

struct controls {
    char at[DAEMON_CONTROLS_MAX][DAEMON_ADDRESS_SIZE];
    unsigned count;
};

/* What a frame says, behind what is there already. */
static void read_controls(const struct sk_node *frame, struct controls *ret)
{
    const struct sk_node *list = sk_map_seq(frame, "controls");

    for (uint32_t i = 0; list && i < list->count && ret->count < DAEMON_CONTROLS_MAX; i++) {
        struct sk_str text =
            list->u.items[i].kind == SK_STRING ? list->u.items[i].u.text : SK_STR("");
        struct sockaddr_storage numeric;
        bool known = false;
        for (unsigned k = 0; k < ret->count; k++) {
            known = known || sk_str_is(text, ret->at[k]);
        }
        if (!known && text.len > 0 && text.len < DAEMON_ADDRESS_SIZE &&
            net_address_parse(text, NET_PORT, &numeric, NULL) == 0) {
            (void)snprintf(ret->at[ret->count++], DAEMON_ADDRESS_SIZE, "%.*s", SK_PRI(text));
        }
    }
}

/* Channels to those that stay stay. False: nothing has changed, or it cannot be. */
static bool use_controls(struct member *member, const struct controls *fresh)
{
    struct daemon_config *own = &member->own;
    const char *addresses[DAEMON_CONTROLS_MAX];
    bool same = fresh->count == own->ncontrols;
    struct sk_err err = {0};

    for (unsigned i = 0; i < fresh->count; i++) {
        addresses[i] = fresh->at[i];
        same = same && strcmp(fresh->at[i], own->controls[i]) == 0;
    }
    if (fresh->count == 0 || same) {
        return false;
    }
    if (net_client_set_addresses(member->client, addresses, fresh->count, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "control nodes not taken", &err);
        return false;
    }
    memcpy(own->controls, fresh->at, sizeof(fresh->at[0]) * fresh->count);
    own->ncontrols = fresh->count;
    sk_log(SK_LOG_INFO, "control nodes", "count=%u first=%s", fresh->count, own->controls[0]);
    return true;
}

/* Where the control nodes are now. Kept for the next start, also where a standby's word came first
 * and said the same. */
static void take_controls(struct member *member, const struct sk_node *frame)
{
    struct controls fresh = {.count = 0};
    struct sk_err err = {0};

    read_controls(frame, &fresh);
    if (fresh.count > 0 && (use_controls(member, &fresh) || member->own_unkept)) {
        if (daemon_role_save(&member->own, &err) < 0) {
            sk_log_err(SK_LOG_ERROR, "control nodes not kept", &err);
        }
        member->own_unkept = false;
    }
}

/* By the word of a standby, which may know less: those that it names are tried as well, for as long
 * as nobody is heard who leads. */
static void hear_controls(struct member *member, const struct sk_node *frame)
{
    struct controls all = {.count = member->own.ncontrols};

    if (member->led_by == NULL) {
        memcpy(all.at, member->own.controls, sizeof(all.at));
        read_controls(frame, &all);
        member->own_unkept = use_controls(member, &all) || member->own_unkept;
    }
}

static bool term_counts(struct member *member, const struct net_peer *peer,
                        const struct net_frame *frame)
{
    int64_t term = sk_map_int(frame->tree, "term", -1);

    if (term_take(&member->term, term)) {
        return true;
    }
    if (member->term_below != term) {
        member->term_below = term;
        sk_log(SK_LOG_WARN, "a deposed leader is not heard",
               "address=%s term=%" PRId64 " newest=%" PRId64, net_peer_info(peer)->address, term,
               member->term);
    }
    return false;
}

static void take_assign(struct member *member, const struct net_peer *peer,
                        const struct net_frame *frame)
{
    member->led_by = peer;
    sk_buf_clear(&member->assign);
    sk_buf_addstr(&member->assign, frame->bytes);
    (void)agent_link_send(member->agent, frame->bytes); /* else on_agent_up() sends it */
    take_probes(member, frame->tree);
    front_take(member->front, frame->tree);
    take_revoked(member, frame->tree);
    take_controls(member, frame->tree);
}

static void take_renewed(struct member *member, const struct net_frame *frame)
{
    struct net_identity fresh = {0};
    struct sk_err err = {0};
    char dir[512];
    bool other;

    (void)snprintf(dir, sizeof(dir), "%s/identity", member->config->dir);
    if (net_renew_finish(&member->identity, frame, &fresh, &err) < 0 ||
        net_identity_save_cert(&fresh, dir, &err) < 0 ||
        net_client_set_identity(member->client, &fresh, &err) < 0) {
        sk_log_err(SK_LOG_ERROR, "renewed certificate not taken", &err);
        net_identity_release(&fresh);
        return;
    }
    other = member->identity.info.kind != fresh.info.kind;
    net_identity_release(&member->identity);
    member->identity = fresh;
    member->renew_at_ms = net_cert_renew_at_ms(&fresh.info);
    sk_log(SK_LOG_INFO, "certificate renewed", "node=%s serial=%s", fresh.info.node,
           fresh.info.serial);
    front_set_identity(member->front, &member->identity);
    member->renewed(member->ctx, &member->identity);
    if (other) {
        (void)sk_err_set(&err, SK_ERR_UNAVAILABLE, "the certificate says another role from now on");
        net_client_reconnect(member->client, &err);
    }
}

static void on_up(void *ctx, struct net_peer *peer)
{
    struct member *member = ctx;
    struct sk_str greeting;

    sk_log(SK_LOG_INFO, "control connected", "address=%s", net_peer_info(peer)->address);
    send_beat(member);
    send_full(member, peer);
    greeting = sk_version_greeting(net_peer_info(peer)->protocol);
    if (greeting.len > 0) {
        (void)net_send(peer, greeting, NULL);
    }
    member->up(member->ctx);
}

/* A hard drill is the agent's: without one this node cannot cut itself, and says so. */
static void take_drill(struct member *member, struct net_peer *peer, const struct net_frame *frame)
{
    struct sk_buf answer = SK_BUF_INIT;
    struct sk_jw w;

    if (agent_link_send(member->agent, frame->bytes)) {
        return;
    }
    sk_jw_init(&w, &answer);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "drilled");
    sk_jw_kint(&w, "number", sk_map_int(frame->tree, "number", 0));
    sk_jw_kstr(&w, "op", sk_map_str(frame->tree, "op", SK_STR("")));
    sk_jw_kbool(&w, "can", false);
    sk_jw_kcstr(&w, "why", "its agent does not run");
    sk_jw_obj_end(&w);
    (void)net_send(peer, sk_buf_str(&answer), NULL); /* control asks again, or waits in vain */
    sk_buf_release(&answer);
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct member *member = ctx;

    if (sk_str_is(frame->type, "assign")) {
        if (term_counts(member, peer, frame)) {
            take_assign(member, peer, frame);
        }
    } else if (sk_str_is(frame->type, "pulse")) {
        pulse_out_take(member->pulse, peer, frame);
    } else if (sk_str_is(frame->type, "renewed")) {
        take_renewed(member, frame);
    } else if (sk_str_is(frame->type, "drill")) {
        if (term_counts(member, peer, frame)) {
            take_drill(member, peer, frame);
        }
    } else if (sk_str_is(frame->type, "controls")) {
        hear_controls(member, frame->tree);
    } else if (sk_str_starts(frame->type, SK_STR("control_"))) {
        member->seat(member->ctx, frame);
    } else if (sk_str_is(frame->type, "logs") || sk_str_is(frame->type, "logs_end") ||
               (sk_str_is(frame->type, "leased") && term_counts(member, peer, frame))) {
        (void)agent_link_send(member->agent, frame->bytes);
    } else if (member->control_frame) {
        member->control_frame(member->ctx, peer, frame);
    }
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    struct member *member = ctx;

    pulse_out_down(member->pulse, peer);
    member->led_by = member->led_by == peer ? NULL : member->led_by;
    sk_log(SK_LOG_WARN, "control disconnected", "address=%s why=\"%s\"",
           net_peer_info(peer)->address, why ? why->msg : "");
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    struct member *member = ctx;

    if (why->code == SK_ERR_PROTOCOL && strcmp(why->msg, member->refused) != 0) {
        /* once: it is tried again and again, and only an upgrade ends it */
        (void)snprintf(member->refused, sizeof(member->refused), "%s", why->msg);
        sk_log_err(SK_LOG_ERROR, "control and this server do not understand each other", why);
    }
    sk_log(SK_LOG_DEBUG, "control not reached", "address=%s code=%s error=\"%s\"", address,
           sk_code_name(why->code), why->msg);
}

/* ---- the agent ---- */

static void on_agent_up(void *ctx)
{
    struct member *member = ctx;

    if (member->assign.len) {
        (void)agent_link_send(member->agent, sk_buf_str(&member->assign));
    }
}

static void on_agent_frame(void *ctx, const struct net_frame *frame)
{
    struct member *member = ctx;

    if (sk_str_is(frame->type, "observe")) {
        observed_take(&member->observed, frame->tree);
        (void)term_take(&member->term, member->observed.term);
        if (net_client_send_all(member->client, frame->bytes) < net_client_up(member->client)) {
            member->resend = true;
        }
    } else if (sk_str_is(frame->type, "log") || sk_str_is(frame->type, "lease") ||
               sk_str_is(frame->type, "drilled")) {
        (void)net_client_send_all(member->client, frame->bytes);
    } else if (sk_str_is(frame->type, "error")) {
        sk_log(SK_LOG_ERROR, "agent refused a frame", "error=\"%.*s\"",
               SK_PRI(sk_map_str(frame->tree, "text", SK_STR(""))));
    }
}

static void on_agent_down(void *ctx)
{
    ((struct member *)ctx)->agent_left = true;
}

/* ---- life ---- */

static int start_client(struct member *member, const struct member_config *config,
                        struct sk_err *err)
{
    struct net_callbacks callbacks = {member, on_up, on_frame, NULL, NULL, on_down, on_refused};
    struct net_channel_cfg cfg = {
        .identity = &member->identity,
        .revoked = config->revoked,
        .incarnation = config->config->incarnation,
        .boot = config->boot,
        .version = sk_version(),
        .source = strcmp(config->config->listen, "0.0.0.0") == 0 ? NULL : config->config->listen,
    };
    const char *addresses[DAEMON_CONTROLS_MAX];

    for (unsigned i = 0; i < config->config->ncontrols; i++) {
        addresses[i] = config->config->controls[i];
    }
    if (net_client_new(member->loop, &cfg, &callbacks, &member->client, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    return net_client_set_addresses(member->client, addresses, config->config->ncontrols, err);
}

static int start_probe(struct member *member, struct sk_err *err)
{
    char address[NET_ADDRESS_SIZE];
    struct net_probe_cfg cfg = {.node = member->config->node,
                                .address = address,
                                .interval_ms = CONTROL_BEAT_MS,
                                .on_pulse = on_pulse,
                                .ctx = member};
    struct pulse_out_config pulse = {CONTROL_BEAT_MS, on_write_pulse, on_send_pulse, member};

    (void)snprintf(address, sizeof(address), "%s:%u", member->config->listen,
                   member->config->probe_port);
    if (net_probe_new(member->loop, &cfg, &member->probe, err) < 0) {
        return err->code;
    }
    load_key(member);
    member->pulse = pulse_out_new(member->loop, &pulse);
    return 0;
}

int member_new(uv_loop_t *loop, const struct member_config *config, struct member **ret,
               struct sk_err *err)
{
    struct member *member = sk_xcalloc(1, sizeof(*member));
    struct agent_link_callbacks callbacks = {member, on_agent_up, on_agent_frame, on_agent_down};
    char path[512];

    member->loop = loop;
    member->config = config->config;
    member->own = *config->config;
    member->revoked = config->revoked;
    member->renewed = config->renewed;
    member->control_frame = config->control_frame;
    member->up = config->up;
    member->seat = config->seat;
    member->take_pulse = config->pulse;
    member->ctx = config->ctx;
    SK_ASSERT(uv_timer_init(loop, &member->beat) == 0);
    member->beat.data = member;
    (void)snprintf(path, sizeof(path), "%s/run/agent.sock", config->config->dir);
    if (net_identity_make(sk_str(config->identity->key_pem), sk_str(config->identity->cert_pem),
                          sk_str(config->identity->ca_pem), &member->identity, err) < 0 ||
        start_probe(member, err) < 0 || start_client(member, config, err) < 0 ||
        agent_link_new(loop, path, &callbacks, &member->agent, err) < 0) {
        member_free(member);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    member->front = front_new(loop, config->config);
    front_set_identity(member->front, &member->identity);
    member->renew_at_ms = net_cert_renew_at_ms(&member->identity.info);
    (void)uv_timer_start(&member->beat, on_beat, CONTROL_BEAT_MS, CONTROL_BEAT_MS);
    *ret = member;
    return 0;
}

void member_send(struct member *member, const char *node, struct sk_str frame)
{
    if (node) {
        (void)net_client_send_to(member->client, node, frame, NULL); /* it is sent again */
    } else {
        (void)net_client_send_all(member->client, frame);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int member_set_control(struct member *member, bool is_control, struct sk_err *err)
{
    struct daemon_config fresh = member->own;
    int r;

    fresh.is_control = is_control;
    r = daemon_role_save(&fresh, err);
    if (r == 0) {
        member->own.is_control = is_control;
    }
    return r;
}

void member_free(struct member *member)
{
    if (!member) {
        return;
    }
    net_client_free(member->client);
    net_probe_free(member->probe);
    pulse_out_free(member->pulse);
    front_free(member->front);
    agent_link_free(member->agent);
    observed_release(&member->observed);
    sk_buf_release(&member->assign);
    net_identity_release(&member->identity);
    uv_close((uv_handle_t *)&member->beat, on_timer_closed);
}
