/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_world.h"

#include <stdio.h>
#include <string.h>

#include "sys/file.h"

static bool no_variable(void *ctx, struct sk_str name, struct sk_str *ret)
{
    return false;
}

static int take_nodes(struct demo_world *w, struct sk_err *err)
{
    size_t controls = 0;
    /* the control node comes first: it is started first, and its prefix is the first */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < w->inv->nnodes; i++) {
            const struct node *from = &w->inv->nodes[i];
            const struct site *site = &w->inv->sites[from->site];
            bool control = site->trust == SITE_CONTROL;
            if (control != (pass == 0)) {
                continue;
            }
            if (w->nnodes == DEMO_NODES_MAX || from->name.len >= DEMO_NAME_MAX ||
                site->name.len >= DEMO_NAME_MAX) {
                return sk_err_set(err, SK_ERR_LIMIT, "the demo takes at most %d nodes",
                                  DEMO_NODES_MAX);
            }
            struct demo_node *to = &w->nodes[w->nnodes++];
            memcpy(to->name, from->name.ptr, from->name.len);
            memcpy(to->site, site->name.ptr, site->name.len);
            to->control = control;
            controls += control;
        }
    }
    if (controls != 1 || w->inv->nsites > DEMO_SITES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "the demo needs one control-only node, and at most %d sites",
                          DEMO_SITES_MAX);
    }
    return 0;
}

int demo_world_read(const char *folder, const char *declaration, struct demo_world *ret,
                    struct sk_err *err)
{
    const struct project_env env = {.lookup = no_variable};
    const struct project_options options = {.env = &env, .for_apply = true};
    struct demo_world w = {0};
    struct sk_buf text = SK_BUF_INIT;
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/inventory.yaml", folder);
    int r = sys_file_read(path, 1 << 20, &text, err);
    if (r == 0) {
        r = inventory_read(path, sk_buf_str(&text), &w.inv, err);
    }
    sk_buf_clear(&text);
    (void)snprintf(path, sizeof(path), "%s/%s", folder, declaration);
    if (r == 0) {
        r = sys_file_read(path, 1 << 20, &text, err);
    }
    if (r == 0) {
        r = project_read(path, sk_buf_str(&text), &options, &w.shop, err);
    }
    if (r == 0) {
        r = take_nodes(&w, err);
    }
    sk_buf_release(&text);
    if (r < 0) {
        demo_world_release(&w);
        return r;
    }
    *ret = w;
    return 0;
}

void demo_world_release(struct demo_world *w)
{
    inventory_free(w->inv);
    project_free(w->shop);
    w->inv = NULL;
    w->shop = NULL;
}

const struct site *demo_world_site(const struct demo_world *w, struct sk_str name)
{
    int64_t i = inventory_site(w->inv, name);
    return i >= 0 ? &w->inv->sites[i] : NULL;
}

const struct demo_node *demo_world_control(const struct demo_world *w)
{
    return &w->nodes[0];
}

bool demo_site_serves(const struct site *site)
{
    return site->trust == SITE_FULL;
}

double demo_rtt(const struct demo_world *w, struct sk_str a, struct sk_str b)
{
    for (size_t i = 0; i < w->inv->nlinks; i++) {
        const struct link *l = &w->inv->links[i];
        struct sk_str one = w->inv->sites[l->a].name;
        struct sk_str two = w->inv->sites[l->b].name;
        bool match =
            (sk_str_eq(one, a) && sk_str_eq(two, b)) || (sk_str_eq(one, b) && sk_str_eq(two, a));
        if (match && l->has_rtt) {
            return l->rtt_ms;
        }
    }
    for (size_t i = 0; i < w->shop->nusers; i++) {
        const struct users *u = &w->shop->users[i];
        for (size_t k = 0; sk_str_eq(u->name, a) && k < u->nrtt; k++) {
            if (sk_str_eq(u->rtt[k].site, b)) {
                return u->rtt[k].rtt_ms;
            }
        }
    }
    return -1;
}
