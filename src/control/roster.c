/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/*
 * The record `control`: which nodes decide, and on which form of the store (docs/control-nodes.md).
 * No record: one control node, this one, as `init` made it. What `grow`, `shrink` and `replace` are
 * doing (`operation`) is read by growth.c.
 */

static enum ctl_seat_state seat_from(struct sk_str name)
{
    return sk_str_is(name, "member")    ? CTL_SEAT_MEMBER
           : sk_str_is(name, "leaving") ? CTL_SEAT_LEAVING
                                        : CTL_SEAT_JOINING;
}

const char *ctl_seat_name(enum ctl_seat_state state)
{
    return state == CTL_SEAT_MEMBER ? "member" : state == CTL_SEAT_LEAVING ? "leaving" : "joining";
}

void ctl_roster_clear(struct control *c)
{
    struct ctl_roster *r = &c->roster;

    for (size_t i = 0; i < r->count; i++) {
        free(r->seats[i].node);
        free(r->seats[i].peer_url);
        free(r->seats[i].client_url);
    }
    free(r->raw);
    free(r->operation);
    *r = (struct ctl_roster){0};
    ctl_growth_clear(c);
    c->dirty_all = true; /* every node is told where control is */
}

void ctl_roster_apply(struct control *c, const struct sk_node *rec, struct sk_str raw,
                      int64_t mod_rev)
{
    struct ctl_roster *r = &c->roster;
    const struct sk_node *list = sk_map_seq(rec, "members");
    const struct sk_node *operation = sk_map_get(rec, SK_STR("operation"));

    if (r->raw != NULL && r->mod_rev == mod_rev && sk_str_eq(sk_str(r->raw), raw)) {
        return; /* read again */
    }
    ctl_roster_clear(c);
    ctl_set(&r->raw, raw);
    r->mod_rev = mod_rev;
    r->untold = true;
    r->etcd = sk_str_is(sk_map_str(rec, "store", SK_STR("sqlite")), "etcd");
    r->external = sk_map_bool(rec, "external", false);
    for (uint32_t i = 0; list != NULL && i < list->count && r->count < CONTROL_MEMBERS_MAX; i++) {
        const struct sk_node *row = &list->u.items[i];
        struct sk_str node = sk_map_str(row, "node", SK_STR(""));
        if (sk_str_is_label(node)) {
            r->seats[r->count].node = ctl_dup(node);
            r->seats[r->count].port = sk_map_int(row, "port", 0);
            r->seats[r->count].peer_url = ctl_dup(sk_map_str(row, "peer_url", SK_STR("")));
            r->seats[r->count].client_url = ctl_dup(sk_map_str(row, "client_url", SK_STR("")));
            r->seats[r->count++].state = seat_from(sk_map_str(row, "state", SK_STR("")));
        }
    }
    if (operation != NULL && operation->kind == SK_MAP) {
        struct sk_buf out = SK_BUF_INIT;
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_node(&w, operation);
        r->operation = sk_buf_steal(&out, NULL);
    }
    ctl_growth_apply(c, rec);
}

const struct ctl_seat *ctl_roster_seat(const struct control *c, struct sk_str node)
{
    for (size_t i = 0; i < c->roster.count; i++) {
        if (sk_str_is(node, c->roster.seats[i].node)) {
            return &c->roster.seats[i];
        }
    }
    return NULL;
}

bool control_is_control(const struct control *c, struct sk_str node)
{
    const struct ctl_seat *seat = ctl_roster_seat(c, node);

    if (c->roster.count == 0) {
        return sk_str_is(node, c->own_node);
    }
    return seat != NULL && seat->state != CTL_SEAT_LEAVING;
}

size_t control_settled(const struct control *c, struct sk_str *ret, size_t max)
{
    size_t n = 0;

    if (!control_is_loaded(c)) {
        return 0;
    }
    if ((c->roster.count == 0 || ctl_shrinks_here(c)) && max > 0) {
        ret[n++] = sk_str(c->own_node); /* before the others go: nothing may need them by then */
        return n;
    }
    for (size_t i = 0; i < c->roster.count && n < max; i++) {
        if (c->roster.seats[i].state == CTL_SEAT_MEMBER) {
            ret[n++] = sk_str(c->roster.seats[i].node);
        }
    }
    return n;
}

size_t control_endpoints(const struct control *c, struct sk_str ret[CONTROL_MEMBERS_MAX])
{
    const struct ctl_seat *own = ctl_roster_seat(c, sk_str(c->own_node));
    size_t n = 0;

    if (!control_is_loaded(c) || !c->roster.etcd || c->roster.external || own == NULL ||
        c->growth.op.kind != CTL_OP_NONE) {
        return 0;
    }
    ret[n++] = sk_str(own->client_url);
    for (size_t i = 0; i < c->roster.count; i++) {
        if (&c->roster.seats[i] != own) {
            ret[n++] = sk_str(c->roster.seats[i].client_url);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (ret[i].len == 0) {
            return 0; /* not started by skerry: whoever did so wrote where they are */
        }
    }
    return n;
}

/* Where every node keeps a channel to. Without a record nodes keep what they were told at join. */
void ctl_roster_controls(const struct control *c, struct sk_jw *w)
{
    if (c->roster.count == 0) {
        return;
    }
    sk_jw_key(w, "controls");
    sk_jw_arr(w);
    for (size_t i = 0; i < c->roster.count; i++) {
        struct sk_buf address = SK_BUF_INIT;
        /* those that join too: one may lead the moment it serves, and must not be alone then */
        if (c->roster.seats[i].state != CTL_SEAT_LEAVING &&
            control_channel_address(c, sk_str(c->roster.seats[i].node), &address)) {
            sk_jw_str(w, sk_buf_str(&address));
        }
        sk_buf_release(&address);
    }
    sk_jw_arr_end(w);
}

/* A node that was away while control nodes were replaced may know none but standbys. The leader's
 * assignment tells who they are, a standby gives none: so it says that alone. */
void ctl_roster_tell(struct control *c)
{
    struct sk_buf body = SK_BUF_INIT;
    struct control_command *cmd;
    struct sk_jw w;

    if (!c->roster.untold || c->leader.leads || c->roster.count == 0) {
        return;
    }
    c->roster.untold = false;
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "controls");
    ctl_roster_controls(c, &w);
    sk_jw_obj_end(&w);
    for (size_t i = 0; i < c->nnodes; i++) {
        struct ctl_node *n = c->nodes[i];
        if (n->connected && n->told_rev != c->roster.mod_rev) {
            n->told_rev = c->roster.mod_rev;
            cmd = ctl_out(c->out, CONTROL_CMD_SEAT);
            cmd->u.seat.node = sk_arena_str(c->out->arena, sk_str(n->name));
            cmd->u.seat.body = sk_arena_str(c->out->arena, sk_buf_str(&body));
        }
    }
    sk_buf_release(&body);
}

bool control_node_address(const struct control *c, struct sk_str node, struct sk_str *ret)
{
    const struct ctl_node *n = ctl_node(c, node);

    if (n == NULL) {
        return false;
    }
    *ret = sk_str(n->address);
    return true;
}

bool control_channel_address(const struct control *c, struct sk_str node, struct sk_buf *out)
{
    const struct ctl_node *n = ctl_node(c, node);
    const struct ctl_seat *seat = ctl_roster_seat(c, node);
    int64_t port = seat != NULL && seat->port > 0 ? seat->port : c->channel_port;

    if (n == NULL) {
        return false;
    }
    if (strchr(n->address, ':') != NULL) {
        sk_buf_printf(out, "[%s]:%lld", n->address, (long long)port);
    } else {
        sk_buf_printf(out, "%s:%lld", n->address, (long long)port);
    }
    return true;
}
