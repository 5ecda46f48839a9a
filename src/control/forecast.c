/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "control/internal.h"
#include "model/lease.h"

/*
 * What the control nodes are, how they are, and what is to be expected when one of them, or its
 * site, is lost (skerry.control/1). The sums are those of docs/control-nodes.md: silence until a
 * standby takes over, an election of etcd beside it where etcd's own leader was there too, one
 * commit by a majority; the verdict and the leases run meanwhile.
 */
#define ELECTION_HEARTBEATS 10 /* as members are started: store/etcd_engine.h */
#define HEARTBEAT_RTT 1.25
#define HEARTBEAT_MS_MIN 50.0
#define HEARTBEAT_MS_MAX 500.0

struct range {
    int64_t from, to;
};

static const struct ctl_site *site_of(const struct control *c, const char *node)
{
    const struct ctl_node *n = ctl_node(c, sk_str(node));
    return n != NULL ? n->site : NULL;
}

static bool rtt_of(const struct control *c, const char *a, const char *b, double *ret_ms)
{
    const struct ctl_site *from = site_of(c, a);
    const struct ctl_site *to = site_of(c, b);

    if (from == NULL || to == NULL) {
        return false;
    }
    if (from == to) {
        *ret_ms = 0;
        return true;
    }
    return ctl_rtt_between(c, from, to, ret_ms);
}

static int by_ms(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Of one member: how long the answers of a majority take. */
static double majority_ms(const struct control *c, size_t at)
{
    double ms[CONTROL_MEMBERS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < c->roster.count; i++) {
        double rtt = 0;
        if (i != at) {
            (void)rtt_of(c, c->roster.seats[at].node, c->roster.seats[i].node, &rtt);
            ms[n++] = rtt;
        }
    }
    if (n == 0) {
        return 0;
    }
    qsort(ms, n, sizeof(*ms), by_ms);
    return ms[c->roster.count / 2 - 1];
}

/* The slowest member is the one to reckon with: which of them takes over is not known. */
static double commit_ms(const struct control *c)
{
    double worst = 0;
    for (size_t i = 0; i < c->roster.count; i++) {
        worst = fmax(worst, majority_ms(c, i));
    }
    return worst;
}

static double rtt_max(const struct control *c)
{
    double worst = 0;
    for (size_t i = 0; i < c->roster.count; i++) {
        for (size_t k = 0; k < i; k++) {
            double ms = 0;
            (void)rtt_of(c, c->roster.seats[i].node, c->roster.seats[k].node, &ms);
            worst = fmax(worst, ms);
        }
    }
    return worst;
}

static void range_json(struct sk_jw *w, const char *key, struct range r)
{
    sk_jw_key(w, key);
    sk_jw_arr(w);
    sk_jw_int(w, r.from);
    sk_jw_int(w, r.to);
    sk_jw_arr_end(w);
}

static struct range later(struct range a, struct range b, int64_t more)
{
    return (struct range){ctl_i64_max(a.from, b.from) + more, ctl_i64_max(a.to, b.to) + more};
}

static void predicted_json(const struct control *c, struct sk_jw *w)
{
    double beat = fmin(fmax(rtt_max(c) * HEARTBEAT_RTT, HEARTBEAT_MS_MIN), HEARTBEAT_MS_MAX);
    int64_t election = ELECTION_HEARTBEATS * (int64_t)lround(beat);
    int64_t commit = (int64_t)ceil(commit_ms(c)) + 10; /* and two disks */
    struct range verdict = {CONTROL_VERDICT_MS, CONTROL_VERDICT_MS + CONTROL_BEAT_MS};
    struct range silence = {CTL_LEADER_SILENCE_MS, CTL_LEADER_SILENCE_MS + CTL_LEADER_BUMP_MS};
    struct range elected = {election, 2 * election};
    struct range lease = {LEASE_MS - LEASE_RENEW_MS, lease_free_from_ms(0)};
    struct range takeover = later(silence, elected, 2 * commit);

    sk_jw_key(w, "predicted");
    sk_jw_obj(w);
    sk_jw_kint(w, "commit_ms", commit);
    sk_jw_kint(w, "heartbeat_ms", lround(beat));
    sk_jw_kint(w, "election_timeout_ms", election);
    range_json(w, "verdict_ms", verdict);
    range_json(w, "takeover_ms", takeover);
    range_json(w, "apply_again_ms", takeover);
    range_json(w, "work_elsewhere_ms", later(verdict, verdict, commit));
    range_json(w, "work_elsewhere_with_leader_ms", later(verdict, takeover, commit));
    range_json(w, "exclusive_elsewhere_ms", later(verdict, lease, 2 * commit));
    range_json(w, "exclusive_elsewhere_with_leader_ms",
               later(later(verdict, takeover, 0), lease, 2 * commit));
    sk_jw_obj_end(w);
}

static void etcd_json(const struct control_member_health *h, struct sk_jw *w)
{
    sk_jw_key(w, "etcd");
    if (h == NULL) {
        sk_jw_null(w);
        return;
    }
    sk_jw_obj(w);
    sk_jw_kbool(w, "ok", h->ok);
    if (h->ok) {
        sk_jw_kbool(w, "leads", h->leads);
        sk_jw_kbool(w, "learner", h->learner);
        sk_jw_kcstr(w, "version", h->version);
        sk_jw_kint(w, "db_bytes", h->db_bytes);
        sk_jw_kint(w, "db_bytes_used", h->db_bytes_used);
        sk_jw_kint(w, "behind", h->behind);
    } else {
        sk_jw_kcstr(w, "error", h->error);
    }
    sk_jw_kcstr(w, "alarm", h->alarm);
    sk_jw_obj_end(w);
}

static void member_json(const struct control *c, const char *node, const char *seat,
                        const struct control_member_health *h, struct sk_jw *w)
{
    const struct ctl_node *n = ctl_node(c, sk_str(node));

    sk_jw_obj(w);
    sk_jw_kcstr(w, "node", node);
    sk_jw_kcstr(w, "site", n != NULL ? n->site->name : "");
    sk_jw_kcstr(w, "address", n != NULL ? n->address : "");
    sk_jw_kcstr(w, "seat", seat);
    sk_jw_kcstr(w, "state", n != NULL ? ctl_life_name(n->life) : "unknown");
    sk_jw_kbool(w, "leads", sk_str_is(control_leader(c), node));
    sk_jw_key(w, "rtt_ms");
    sk_jw_obj(w);
    for (size_t i = 0; i < c->roster.count; i++) {
        const char *other = c->roster.seats[i].node;
        double ms;
        if (strcmp(other, node) != 0 && rtt_of(c, node, other, &ms)) {
            sk_jw_knum(w, other, ms);
        }
    }
    sk_jw_obj_end(w);
    etcd_json(h, w);
    sk_jw_obj_end(w);
}

static const struct control_member_health *
health_of(const char *node, const struct control_member_health *health, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(health[i].node, node) == 0) {
            return &health[i];
        }
    }
    return NULL;
}

static void loss_text(const struct control *c, struct sk_jw *w)
{
    size_t members = 0;
    size_t sites = 0;
    const struct ctl_site *seen[CONTROL_MEMBERS_MAX];

    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_site *s = site_of(c, c->roster.seats[i].node);
        bool known = s == NULL;
        members += c->roster.seats[i].state == CTL_SEAT_MEMBER;
        for (size_t k = 0; k < sites; k++) {
            known = known || seen[k] == s;
        }
        if (!known) {
            seen[sites++] = s;
        }
    }
    sk_jw_kint(w, "may_be_lost", members > 0 ? (int64_t)(members - 1) / 2 : 0);
    if (members < 3) {
        sk_jw_kcstr(w, "loss",
                    "while it is lost, what runs goes on, nothing is re-placed, no apply is taken, "
                    "and exclusive work ends after 3 s");
    } else if (sites < members) {
        sk_jw_kcstr(w, "loss", "two of them stand in one site: its loss may take the majority");
    } else {
        sk_jw_kcstr(w, "loss", "the others go on without a hand");
    }
}

static void keys_json(const struct control_keys *keys, struct sk_jw *w)
{
    sk_jw_key(w, "keys");
    sk_jw_obj(w);
    sk_jw_kcstr(w, "form", keys->shares > 0 ? "split" : "file");
    sk_jw_kint(w, "shares", keys->shares);
    sk_jw_kint(w, "needed", keys->needed);
    sk_jw_obj_end(w);
}

void control_control_json(const struct control *c, const struct control_member_health *health,
                          size_t count, const struct control_keys *keys, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.control/1");
    sk_jw_kcstr(&w, "cluster", c->cluster ? c->cluster : "");
    sk_jw_kcstr(&w, "store", c->roster.etcd ? "etcd" : "sqlite");
    sk_jw_kbool(&w, "external", c->roster.external);
    sk_jw_kcstr(&w, "answered_by", c->own_node);
    sk_jw_key(&w, "leader");
    sk_jw_obj(&w);
    sk_jw_kstr(&w, "node", control_leader(c));
    sk_jw_kint(&w, "term", c->leader.term);
    sk_jw_kint(&w, "silent_ms", c->leader.leads ? 0 : c->now_ms - c->leader.seen_ms);
    sk_jw_obj_end(&w);
    sk_jw_key(&w, "members");
    sk_jw_arr(&w);
    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_seat *s = &c->roster.seats[i];
        member_json(c, s->node, ctl_seat_name(s->state), health_of(s->node, health, count), &w);
    }
    if (c->roster.count == 0) {
        member_json(c, c->own_node, "member", NULL, &w);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "endpoints"); /* of an etcd that is not ours */
    sk_jw_arr(&w);
    for (size_t i = 0; i < count; i++) {
        if (health[i].node[0] == '\0') {
            sk_jw_obj(&w);
            sk_jw_kcstr(&w, "endpoint", health[i].endpoint);
            etcd_json(&health[i], &w);
            sk_jw_obj_end(&w);
        }
    }
    sk_jw_arr_end(&w);
    keys_json(keys, &w);
    loss_text(c, &w);
    sk_jw_kcstr(&w, "problem", c->upkeep.problem);
    if (c->roster.count > 1) {
        predicted_json(c, &w);
    } else {
        sk_jw_knull(&w, "predicted");
    }
    sk_jw_key(&w, "operation");
    if (c->roster.operation != NULL) {
        sk_jw_raw(&w, sk_str(c->roster.operation));
    } else {
        sk_jw_null(&w);
    }
    sk_jw_obj_end(&w);
}

size_t control_members(const struct control *c, struct control_member ret[CONTROL_MEMBERS_MAX])
{
    for (size_t i = 0; i < c->roster.count; i++) {
        const struct ctl_node *n = ctl_node(c, sk_str(c->roster.seats[i].node));
        ret[i] = (struct control_member){
            sk_str(c->roster.seats[i].node), sk_str(n != NULL ? n->address : ""),
            c->roster.external || !c->roster.etcd ? SK_STR("")
                                                  : sk_str(c->roster.seats[i].client_url)};
    }
    return c->roster.count;
}
