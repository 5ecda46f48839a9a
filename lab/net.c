/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/net_make.h"
#include "lab/net_remove.h"
#include "lab/spawn.h"
#include "lab/wan.h"

static unsigned site_number(const struct lab_net *net, struct sk_str name)
{
    for (size_t i = 1; i <= net->nsites; i++) {
        if (sk_str_is(name, net->sites[i])) {
            return (unsigned)i;
        }
    }
    return 0;
}

static int need_site(const struct lab_net *net, struct sk_str name, unsigned *ret,
                     struct sk_err *err)
{
    unsigned number = site_number(net, name);
    if (number == 0) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no site '%.*s' in this lab", SK_PRI(name));
    }
    *ret = number;
    return 0;
}

static int need_node(const struct lab_net *net, struct sk_str name, const struct lab_node **ret,
                     struct sk_err *err)
{
    const struct lab_node *node = lab_net_find(net, name);
    if (node == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no node '%.*s' in this lab", SK_PRI(name));
    }
    *ret = node;
    return 0;
}

static int need_root(struct sk_err *err)
{
    if (geteuid() != 0) {
        (void)sk_err_set(err, SK_ERR_DENIED, "network namespaces need root");
        (void)sk_err_fix(err, "run it as root");
        return SK_ERR_DENIED;
    }
    return 0;
}

int lab_net_up(const struct lab_topology *topology, const struct lab_net_options *options,
               struct lab_net **ret_net, struct sk_err *err)
{
    int lock = -1;
    int ret = need_root(err);
    if (ret < 0 || (ret = lab_topology_check(topology, err)) < 0 ||
        (ret = lab_net_clean(err)) < 0 || (ret = lab_state_lock(&lock, err)) < 0) {
        return ret;
    }
    struct lab_net *net = sk_xcalloc(1, sizeof(*net));
    ret = lab_net_describe(topology, options, net, err);
    if (ret == 0) {
        char path[300];
        (void)snprintf(path, sizeof(path), "%s/lab.json", net->dir);
        if (access(path, F_OK) == 0) {
            ret = sk_err_set(err, SK_ERR_CONFLICT, "there is a lab in '%s' already", net->dir);
            (void)sk_err_fix(err, "skerry-lab down --dir %s", net->dir);
        }
    }
    if (ret == 0) {
        ret = lab_state_write(net, err);
        if (ret == 0) {
            ret = lab_net_make(net, topology, options, err);
        }
        if (ret < 0) {
            lab_remove(net);
        }
    }
    (void)close(lock);
    if (ret < 0) {
        free(net);
        (void)sk_err_wrap(err, "make the lab");
        return ret;
    }
    *ret_net = net;
    return 0;
}

int lab_net_open(const char *dir, struct lab_net **ret_net, struct sk_err *err)
{
    char path[300];
    if (strlen(dir) >= 256) {
        return sk_err_set(err, SK_ERR_USAGE, "the folder's path is longer than 255 bytes");
    }
    (void)snprintf(path, sizeof(path), "%s/lab.json", dir);
    return lab_state_read(path, ret_net, err);
}

void lab_net_free(struct lab_net *net)
{
    free(net);
}

size_t lab_net_count(const struct lab_net *net)
{
    return net->nnodes;
}

const struct lab_node *lab_net_node(const struct lab_net *net, size_t i)
{
    SK_ASSERT(i < net->nnodes);
    return &net->nodes[i];
}

const struct lab_node *lab_net_find(const struct lab_net *net, struct sk_str name)
{
    for (size_t i = 0; i < net->nnodes; i++) {
        if (sk_str_is(name, net->nodes[i].name)) {
            return &net->nodes[i];
        }
    }
    return NULL;
}

const char *lab_net_id(const struct lab_net *net)
{
    return net->id;
}

const char *lab_net_dir(const struct lab_net *net)
{
    return net->dir;
}

size_t lab_net_sites(const struct lab_net *net)
{
    return net->nsites;
}

const char *lab_net_site(const struct lab_net *net, size_t i)
{
    SK_ASSERT(i < net->nsites);
    return net->sites[i + 1];
}

bool lab_net_has_site(const struct lab_net *net, struct sk_str name)
{
    return site_number(net, name) != 0;
}

const char *lab_net_router(const struct lab_net *net)
{
    return net->router;
}

/* ---- changing ---- */

/* Adding first makes healing what is whole no error; a set takes what it has already. */
static int change_cut(const struct lab_net *net, const char *family, const char *device, bool cut,
                      struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_printf(&b, "add element %s lab cut { \"%s\" }\n", family, device);
    if (!cut) {
        sk_buf_printf(&b, "delete element %s lab cut { \"%s\" }\n", family, device);
    }
    int ret = lab_nft_load(net, &b, err);
    sk_buf_release(&b);
    return ret;
}

static int change_site(const struct lab_net *net, struct sk_str site, bool cut, struct sk_err *err)
{
    unsigned number;
    char device[16];
    int ret = need_site(net, site, &number, err);
    if (ret == 0) {
        (void)snprintf(device, sizeof(device), "br%u", number);
        ret = change_cut(net, "inet", device, cut, err);
    }
    return ret;
}

int lab_net_cut(const struct lab_net *net, struct sk_str site, struct sk_err *err)
{
    return change_site(net, site, true, err);
}

int lab_net_heal(const struct lab_net *net, struct sk_str site, struct sk_err *err)
{
    return change_site(net, site, false, err);
}

int lab_net_cut_node(const struct lab_net *net, struct sk_str name, bool cut, struct sk_err *err)
{
    const struct lab_node *node;
    char device[16];
    int ret = need_node(net, name, &node, err);
    if (ret == 0) {
        (void)snprintf(device, sizeof(device), "v%u", node->number);
        ret = change_cut(net, "bridge", device, cut, err);
    }
    return ret;
}

int lab_net_heal_all(const struct lab_net *net, struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_adds(&b, "flush set inet lab cut\nflush set bridge lab cut\n");
    int ret = lab_nft_load(net, &b, err);
    sk_buf_clear(&b);
    for (size_t from = 1; from <= net->nsites; from++) {
        for (size_t to = 1; to <= net->nsites; to++) {
            if (from != to) {
                sk_buf_printf(&b, "heal %zu %zu\n", from, to);
            }
        }
    }
    ret = ret < 0 || b.len == 0 ? ret : lab_wan_command(net->control, sk_buf_str(&b), NULL, err);
    sk_buf_release(&b);
    return ret;
}

int lab_net_cuts(const struct lab_net *net, struct sk_buf *out, struct sk_err *err)
{
    static const char *const families[] = {"inet", "bridge"};
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < SK_ARRAY_LEN(families); i++) {
        const char *const argv[] = {"nft", "list", "set", families[i], "lab", "cut", NULL};
        ret = lab_run(net->router, argv, SK_STR(""), LAB_TOOL_MS, out, err);
    }
    return ret;
}

int lab_net_pairs(const struct lab_net *net, struct lab_pair **ret_pairs, size_t *ret_count,
                  struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    char command[32];
    size_t count = 0;
    (void)snprintf(command, sizeof(command), "links %zu\n", net->nsites);
    int ret = lab_wan_command(net->control, sk_str(command), &text, err);
    struct lab_pair *pairs = sk_xcalloc(net->nsites * net->nsites + 1, sizeof(*pairs));
    for (const char *at = text.ptr; ret == 0 && at != NULL && *at != '\0';) {
        struct lab_pair *p = &pairs[count];
        unsigned from, to;
        int cut;
        bool ok = sscanf(at, "%u %u %lf %lf %lf %lf %d", &from, &to, &p->now.delay_ms,
                         &p->now.jitter_ms, &p->now.loss_percent, &p->now.mbit, &cut) == 7 &&
                  from >= 1 && from <= net->nsites && to >= 1 && to <= net->nsites &&
                  count < net->nsites * net->nsites;
        if (!ok) {
            ret = sk_err_set(err, SK_ERR_PROTOCOL, "the delay router speaks another language");
            break;
        }
        p->from = net->sites[from];
        p->to = net->sites[to];
        p->cut = cut != 0;
        count++;
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    sk_buf_release(&text);
    if (ret < 0) {
        free(pairs);
        return ret;
    }
    *ret_pairs = pairs;
    *ret_count = count;
    return 0;
}

int lab_net_wire(const struct lab_net *net, struct sk_str name, bool up, struct sk_err *err)
{
    const struct lab_node *node;
    int ret = need_node(net, name, &node, err);
    if (ret == 0) {
        struct sk_buf b = SK_BUF_INIT;
        sk_buf_printf(&b, "link set v%u %s\n", node->number, up ? "up" : "down");
        ret = lab_ip_batch(net->router, &b, err);
        sk_buf_release(&b);
    }
    return ret;
}

int lab_net_set(const struct lab_net *net, struct sk_str from, struct sk_str to,
                const struct lab_direction *d, struct sk_err *err)
{
    unsigned a, b;
    int ret = need_site(net, from, &a, err);
    if (ret == 0 && (ret = need_site(net, to, &b, err)) == 0) {
        struct sk_buf line = SK_BUF_INIT;
        lab_add_set(&line, a, b, d);
        ret = lab_wan_command(net->control, sk_buf_str(&line), NULL, err);
        sk_buf_release(&line);
    }
    return ret;
}

int lab_net_cut_one_way(const struct lab_net *net, struct sk_str from, struct sk_str to, bool cut,
                        struct sk_err *err)
{
    unsigned a, b;
    int ret = need_site(net, from, &a, err);
    if (ret == 0 && (ret = need_site(net, to, &b, err)) == 0) {
        struct sk_buf line = SK_BUF_INIT;
        sk_buf_printf(&line, "%s %u %u\n", cut ? "cut" : "heal", a, b);
        ret = lab_wan_command(net->control, sk_buf_str(&line), NULL, err);
        sk_buf_release(&line);
    }
    return ret;
}

int lab_net_route(const struct lab_net *net, struct sk_str name, struct sk_str prefix,
                  struct sk_err *err)
{
    const struct lab_node *node;
    unsigned third;
    char text[24];
    char tail;
    int ret = need_node(net, name, &node, err);
    if (ret < 0) {
        return ret;
    }
    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(prefix));
    if (prefix.len >= sizeof(text) || sscanf(text, "10.210.%3u.0/24%c", &third, &tail) != 1 ||
        third > 255) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' is not a prefix 10.210.N.0/24", text);
    }
    struct sk_buf b = SK_BUF_INIT;
    for (size_t s = 1; s <= net->nsites; s++) {
        sk_buf_printf(&b, "route flush table %zu 10.210.%u.0/24\n", LAB_TABLE(s), third);
    }
    sk_buf_printf(&b,
                  "route replace 10.210.%u.0/24 via %s dev br%u\n"
                  "route replace 10.210.%u.0/24 via %s dev br%u table %u\n",
                  third, node->address, node->site_number, third, node->address, node->site_number,
                  LAB_TABLE(node->site_number));
    ret = lab_ip_batch(net->router, &b, err);
    if (ret == 0) {
        sk_buf_clear(&b);
        sk_buf_printf(&b, "map 10.210.%u.0/24 %u\n", third, node->site_number);
        ret = lab_wan_command(net->control, sk_buf_str(&b), NULL, err);
    }
    sk_buf_release(&b);
    return ret;
}
