/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lab/net_remove.h"
#include "lab/net_state.h"
#include "lab/spawn.h"
#include "lab/wan.h"
#include "sys/clock.h"
#include "sys/file.h"

#define TOOL_MS 20000 /* a loaded machine is slow, a hung tool must still end */
#define TABLE(site) (1000 + (site))

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* `ip -batch -`, in the namespace of that path when one is given. */
static int ip_batch(const char *netns, const struct sk_buf *commands, struct sk_err *err)
{
    const char *const plain[] = {"ip", "-batch", "-", NULL};
    const char *const inside[] = {"ip",     "-n", netns != NULL ? base_name(netns) : "",
                                  "-batch", "-",  NULL};
    return lab_run(NULL, netns != NULL ? inside : plain, sk_buf_str(commands), TOOL_MS, NULL, err);
}

static int nft_load(const struct lab_net *net, const struct sk_buf *rules, struct sk_err *err)
{
    const char *const argv[] = {"nft", "-f", "-", NULL};
    return lab_run(net->router, argv, sk_buf_str(rules), TOOL_MS, NULL, err);
}

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

/* ---- making ---- */

static int describe(const struct lab_topology *topology, const struct lab_net_options *options,
                    struct lab_net *net, struct sk_err *err)
{
    uint8_t random[4];
    char id[2 * sizeof(random) + 1];
    if (strlen(options->dir) >= 200 || options->dir[0] == '\0') {
        return sk_err_set(err, SK_ERR_USAGE, "the lab's folder needs a path of 1 to 199 bytes");
    }
    sys_random(random, sizeof(random));
    sk_hex(random, sizeof(random), id);
    memcpy(net->id, id, sizeof(id));
    int ret = sys_mkdirs(options->dir, 0700, err);
    if (ret < 0) {
        return ret;
    }
    sk_autofree char *real = realpath(options->dir, NULL);
    if (real == NULL || strlen(real) >= sizeof(net->dir)) {
        return sk_err_errno(err, real == NULL ? errno : ENAMETOOLONG, "resolve '%s'", options->dir);
    }
    (void)snprintf(net->dir, sizeof(net->dir), "%s", real);
    net->owner = options->owner;
    net->owner_start = options->owner != 0 ? lab_start_time(options->owner) : 0;
    (void)snprintf(net->router, sizeof(net->router), "/run/netns/skl-%s.router", id);
    (void)snprintf(net->control, sizeof(net->control), "%s/%s.wan", LAB_REGISTRY, id);
    net->nsites = topology->nsites;
    for (size_t s = 1; s <= topology->nsites; s++) {
        const struct lab_site_spec *site = &topology->sites[s - 1];
        memcpy(net->sites[s], site->name.ptr, site->name.len);
        for (size_t h = 0; h < site->nnodes; h++) {
            struct lab_node *node = &net->nodes[net->nnodes];
            memcpy(node->name, site->nodes[h].ptr, site->nodes[h].len);
            memcpy(node->site, net->sites[s], sizeof(node->site));
            node->site_number = (unsigned)s;
            node->number = (unsigned)++net->nnodes;
            (void)snprintf(node->address, sizeof(node->address), "10.99.%u.%u", (unsigned)s & 255U,
                           (unsigned)(11 + h) & 255U);
            (void)snprintf(node->prefix, sizeof(node->prefix), "10.210.%u.0/24", node->number);
            (void)snprintf(node->netns, sizeof(node->netns), "/run/netns/skl-%s-%.*s", id,
                           SK_PRI(site->nodes[h]));
        }
    }
    return 0;
}

static int make_namespaces(const struct lab_net *net, struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_printf(&b, "netns add %s\n", base_name(net->router));
    for (size_t i = 0; i < net->nnodes; i++) {
        sk_buf_printf(&b, "netns add %s\n", base_name(net->nodes[i].netns));
    }
    int ret = ip_batch(NULL, &b, err);
    sk_buf_release(&b);
    return ret;
}

static int write_setting(const char *name, const char *value, struct sk_err *err)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return sk_err_errno(err, errno, "open '%s'", path);
    }
    ssize_t n = write(fd, value, strlen(value));
    int code = errno;
    (void)close(fd);
    return n < 0 ? sk_err_errno(err, code, "write '%s'", path) : 0;
}

/* /proc/sys/net shows the settings of the namespace that its reader is in. */
static int set_namespace(const char *netns, struct sk_err *err)
{
    static const char *const settings[][2] = {
        {"ip_forward", "1"},
        {"conf/all/rp_filter", "0"}, /* what comes back through the TUN has a far source */
        {"conf/default/rp_filter", "0"},
        {"conf/all/send_redirects", "0"},
        {"conf/default/send_redirects", "0"},
        {"ip_unprivileged_port_start", "0"}, /* port 80 for a daemon without privilege */
    };
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(netns, O_RDONLY | O_CLOEXEC);
    int ret = 0;
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0) {
        ret = sk_err_errno(err, errno, "enter network namespace '%s'", netns);
    } else {
        for (size_t i = 0; ret == 0 && i < SK_ARRAY_LEN(settings); i++) {
            ret = write_setting(settings[i][0], settings[i][1], err);
        }
        int back = setns(home, CLONE_NEWNET);
        SK_ASSERT(back == 0); /* going on in a foreign namespace would change the wrong network */
    }
    if (home >= 0) {
        (void)close(home);
    }
    if (there >= 0) {
        (void)close(there);
    }
    return ret;
}

static int make_wires(const struct lab_net *net, struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_adds(&b, "link set lo up\n");
    for (size_t s = 1; s <= net->nsites; s++) {
        sk_buf_printf(&b,
                      "link add br%zu type bridge\naddr add 10.99.%zu.1/24 dev br%zu\n"
                      "link set br%zu up\n",
                      s, s, s, s);
    }
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_buf_printf(&b,
                      "link add v%u type veth peer name eth0 netns %s\n"
                      "link set v%u master br%u\nlink set v%u up\n",
                      node->number, base_name(node->netns), node->number, node->site_number,
                      node->number);
    }
    int ret = ip_batch(net->router, &b, err);
    for (size_t i = 0; ret == 0 && i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_buf_clear(&b);
        sk_buf_printf(&b,
                      "link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n"
                      "route add default via 10.99.%u.1\n",
                      node->address, node->site_number);
        ret = ip_batch(node->netns, &b, err);
    }
    sk_buf_release(&b);
    return ret;
}

/* A table per site: its own addresses by its bridge, all the others into the delay router. One
 * table for all would let packets past it. */
static int make_routes(const struct lab_net *net, struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_adds(&b, "link set wan0 up txqueuelen 10000\n");
    for (size_t s = 1; s <= net->nsites; s++) {
        sk_buf_printf(&b,
                      "rule add iif br%zu lookup %zu pref 100\n"
                      "route add 10.99.%zu.0/24 dev br%zu table %zu\n"
                      "route add 10.99.0.0/16 dev wan0 table %zu\n"
                      "route add 10.210.0.0/16 dev wan0 table %zu\n",
                      s, TABLE(s), s, s, TABLE(s), TABLE(s), TABLE(s));
    }
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_buf_printf(&b,
                      "route add %s via %s dev br%u\n"
                      "route add %s via %s dev br%u table %u\n",
                      node->prefix, node->address, node->site_number, node->prefix, node->address,
                      node->site_number, TABLE(node->site_number));
    }
    int ret = ip_batch(net->router, &b, err);
    sk_buf_release(&b);
    return ret;
}

static int make_firewall(const struct lab_net *net, struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    sk_buf_adds(&b, "table inet lab {\n    set cut {\n        type ifname\n    }\n"
                    "    chain forward {\n        type filter hook forward priority 0\n");
    for (size_t s = 1; s <= net->nsites; s++) {
        /* a site's own containers reach each other through the router: that is inside the site */
        sk_buf_printf(&b, "        iifname \"br%zu\" oifname \"br%zu\" accept\n", s, s);
    }
    sk_buf_adds(&b, "        iifname @cut drop\n        oifname @cut drop\n    }\n}\n");
    int ret = nft_load(net, &b, err);
    sk_buf_release(&b);
    return ret;
}

static void link_commands(const struct lab_link_spec *link, struct sk_buf *out)
{
    size_t ends[2] = {link->a + 1, link->b + 1};
    for (size_t i = 0; i < 2; i++) {
        sk_buf_printf(out, "set %zu %zu %.6f %.6f %.6f %.6f\n", ends[i], ends[1 - i],
                      link->rtt_ms / 2, link->jitter_ms / 2, link->loss_percent, link->mbit);
    }
}

static int set_wan(const struct lab_net *net, const struct lab_topology *topology,
                   struct sk_err *err)
{
    struct sk_buf b = SK_BUF_INIT;
    for (size_t s = 1; s <= net->nsites; s++) {
        sk_buf_printf(&b, "map 10.99.%zu.0/24 %zu\n", s, s);
    }
    for (size_t i = 0; i < net->nnodes; i++) {
        sk_buf_printf(&b, "map %s %u\n", net->nodes[i].prefix, net->nodes[i].site_number);
    }
    int ret = lab_wan_command(net->control, sk_buf_str(&b), NULL, err);
    for (size_t i = 0; ret == 0 && i < topology->nlinks; i++) {
        sk_buf_clear(&b);
        link_commands(&topology->links[i], &b);
        ret = lab_wan_command(net->control, sk_buf_str(&b), NULL, err);
    }
    sk_buf_release(&b);
    return ret;
}

static int start_wan(const struct lab_net *net, const struct lab_net_options *options,
                     struct sk_err *err)
{
    const char *argv[] = {options->program, "wan",        "--device", "wan0",
                          "--control",      net->control, NULL,       NULL};
    if (options->nogso) {
        argv[6] = "--no-gso";
    }
    char log_path[300];
    (void)snprintf(log_path, sizeof(log_path), "%s/wan.log", net->dir);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) {
        return sk_err_errno(err, errno, "open '%s'", log_path);
    }
    struct lab_spawn how = LAB_SPAWN_INIT;
    how.netns = net->router;
    how.out = log;
    how.err = log;
    how.new_session = true;
    pid_t pid = 0;
    int ret = lab_spawn(&how, argv, &pid, err);
    (void)close(log);
    if (ret < 0) {
        return ret;
    }
    for (int tries = 0;; tries++) {
        struct sk_err last = {0};
        if (lab_wan_command(net->control, SK_STR("stats"), NULL, &last) == 0) {
            return 0;
        }
        if (lab_wait(pid, 10, NULL)) {
            return sk_err_set(err, SK_ERR_ENGINE, "the delay router ended at once: see '%s'",
                              log_path);
        }
        if (tries == 300) {
            return sk_err_set(err, SK_ERR_TIMEOUT, "the delay router does not start: %s", last.msg);
        }
    }
}

static int make_all(const struct lab_net *net, const struct lab_topology *topology,
                    const struct lab_net_options *options, struct sk_err *err)
{
    int ret = make_namespaces(net, err);
    if (ret == 0) {
        ret = set_namespace(net->router, err);
    }
    for (size_t i = 0; ret == 0 && i < net->nnodes; i++) {
        ret = set_namespace(net->nodes[i].netns, err);
    }
    if (ret == 0) {
        ret = make_wires(net, err);
    }
    if (ret == 0) {
        ret = start_wan(net, options, err);
    }
    if (ret == 0) {
        ret = make_routes(net, err);
    }
    if (ret == 0) {
        ret = make_firewall(net, err);
    }
    if (ret == 0) {
        ret = set_wan(net, topology, err);
    }
    return ret;
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
    ret = describe(topology, options, net, err);
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
            ret = make_all(net, topology, options, err);
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

const char *lab_net_router(const struct lab_net *net)
{
    return net->router;
}

/* ---- changing ---- */

int lab_net_cut(const struct lab_net *net, struct sk_str site, struct sk_err *err)
{
    unsigned number;
    int ret = need_site(net, site, &number, err);
    if (ret == 0) {
        struct sk_buf b = SK_BUF_INIT;
        sk_buf_printf(&b, "add element inet lab cut { \"br%u\" }\n", number);
        ret = nft_load(net, &b, err);
        sk_buf_release(&b);
    }
    return ret;
}

int lab_net_heal(const struct lab_net *net, struct sk_str site, struct sk_err *err)
{
    unsigned number;
    int ret = need_site(net, site, &number, err);
    if (ret == 0) {
        struct sk_buf b = SK_BUF_INIT;
        /* adding first makes healing what is whole no error */
        sk_buf_printf(&b,
                      "add element inet lab cut { \"br%u\" }\n"
                      "delete element inet lab cut { \"br%u\" }\n",
                      number, number);
        ret = nft_load(net, &b, err);
        sk_buf_release(&b);
    }
    return ret;
}

int lab_net_wire(const struct lab_net *net, struct sk_str name, bool up, struct sk_err *err)
{
    const struct lab_node *node;
    int ret = need_node(net, name, &node, err);
    if (ret == 0) {
        struct sk_buf b = SK_BUF_INIT;
        sk_buf_printf(&b, "link set v%u %s\n", node->number, up ? "up" : "down");
        ret = ip_batch(net->router, &b, err);
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
        sk_buf_printf(&line, "set %u %u %.6f %.6f %.6f %.6f\n", a, b, d->delay_ms, d->jitter_ms,
                      d->loss_percent, d->mbit);
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
        sk_buf_printf(&b, "route flush table %zu 10.210.%u.0/24\n", TABLE(s), third);
    }
    sk_buf_printf(&b,
                  "route replace 10.210.%u.0/24 via %s dev br%u\n"
                  "route replace 10.210.%u.0/24 via %s dev br%u table %u\n",
                  third, node->address, node->site_number, third, node->address, node->site_number,
                  TABLE(node->site_number));
    ret = ip_batch(net->router, &b, err);
    if (ret == 0) {
        sk_buf_clear(&b);
        sk_buf_printf(&b, "map 10.210.%u.0/24 %u\n", third, node->site_number);
        ret = lab_wan_command(net->control, sk_buf_str(&b), NULL, err);
    }
    sk_buf_release(&b);
    return ret;
}
