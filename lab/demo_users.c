/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/tree.h"
#include "lab/demo_cluster.h"
#include "sys/file.h"

#define COMMAND_MS 20000

/* The users of the demo: who they are, and which ingress is nearest to them. */

int demo_ingress(const struct demo_cluster *c, struct sk_str site, char ret[20], struct sk_err *err)
{
    const char *const args[] = {"sites", "--json", NULL};
    struct sk_buf out = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int r = demo_skerry(c, args, COMMAND_MS, &out, err);
    r = r < 0 ? r : sk_json_read(arena, "sites", sk_buf_str(&out), NULL, &root, err);
    const struct sk_node *sites = r == 0 ? sk_map_seq(root, "sites") : NULL;
    bool found = false;
    for (uint32_t i = 0; sites != NULL && i < sites->count; i++) {
        const struct sk_node *s = &sites->u.items[i];
        struct sk_str node = sk_map_str(s, "ingress", SK_STR(""));
        for (size_t k = 0;
             sk_str_eq(sk_map_str(s, "site", SK_STR("")), site) && k < c->world.nnodes; k++) {
            if (sk_str_is(node, c->world.nodes[k].name)) {
                memcpy(ret, c->world.nodes[k].address, 20);
                found = true;
            }
        }
    }
    sk_arena_free(arena);
    sk_buf_release(&out);
    if (r == 0 && !found) {
        r = sk_err_set(err, SK_ERR_NOT_FOUND, "site '%.*s' has no ingress", SK_PRI(site));
    }
    return r;
}

const char *demo_users_netns(const struct demo_cluster *c, struct sk_str population)
{
    char name[80];
    if (c->net == NULL) {
        return NULL;
    }
    (void)snprintf(name, sizeof(name), "users-%.*s", SK_PRI(population));
    const struct lab_node *node = lab_net_find(c->net, sk_str(name));
    return node != NULL ? node->netns : NULL;
}

struct reach {
    struct sk_str site;
    char address[20];
    double rtt;
};

static int by_rtt(const void *a, const void *b)
{
    const struct reach *x = a;
    const struct reach *y = b;
    return x->rtt < y->rtt ? -1 : x->rtt > y->rtt;
}

static int write_population(const struct demo_cluster *c, const struct users *users,
                            struct sk_jw *w, struct sk_err *err)
{
    struct reach list[DEMO_SITES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < c->world.inv->nsites; i++) {
        const struct site *site = &c->world.inv->sites[i];
        if (demo_site_serves(site)) {
            struct sk_err none = {0};
            int r = demo_ingress(c, site->name, list[count].address, &none);
            if (r < 0 && none.code != SK_ERR_NOT_FOUND) {
                *err = none;
                return r;
            }
            if (r < 0) { /* a lost site: users do not forget its address */
                memcpy(list[count].address, c->ingress[i], sizeof(list[count].address));
            }
            list[count].site = site->name;
            list[count++].rtt = demo_rtt(&c->world, users->name, site->name);
        }
    }
    qsort(list, count, sizeof(list[0]), by_rtt);
    sk_jw_obj(w);
    sk_jw_kstr(w, "name", users->name);
    sk_jw_knum(w, "share", users->share);
    if (c->net != NULL) {
        sk_jw_kcstr(w, "netns", demo_users_netns(c, users->name));
    }
    sk_jw_key(w, "ingress");
    sk_jw_arr(w);
    for (size_t i = 0; i < count; i++) {
        sk_jw_obj(w);
        sk_jw_kstr(w, "site", list[i].site);
        sk_jw_kcstr(w, "address", list[i].address);
        sk_jw_kint(w, "port", c->ingress_port);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
    return 0;
}

int demo_users_write(const struct demo_cluster *c, double rate, uint64_t seed, const char *path,
                     struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;
    char csv[160], control[160];
    int r = 0;
    (void)snprintf(csv, sizeof(csv), "%s/requests.csv", c->dir);
    (void)snprintf(control, sizeof(control), "%s/users.sock", c->dir);
    sk_jw_init(&w, &text);
    sk_jw_obj(&w);
    sk_jw_knum(&w, "rate", rate);
    sk_jw_kint(&w, "seconds", 0);
    sk_jw_kint(&w, "seed", (int64_t)seed);
    for (size_t i = 0; i < c->world.shop->nservices; i++) {
        if (c->world.shop->services[i].has_route) {
            sk_jw_kstr(&w, "host", c->world.shop->services[i].route_host);
            break;
        }
    }
    sk_jw_kcstr(&w, "csv", csv);
    sk_jw_kcstr(&w, "control", control);
    sk_jw_key(&w, "populations");
    sk_jw_arr(&w);
    for (size_t i = 0; r == 0 && i < c->world.shop->nusers; i++) {
        r = write_population(c, &c->world.shop->users[i], &w, err);
    }
    if (r == 0) {
        sk_jw_arr_end(&w);
        sk_jw_obj_end(&w);
        r = sys_file_write(path, sk_buf_str(&text), 0644, err);
    }
    sk_buf_release(&text);
    return r;
}
