/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net_make.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "lab/hosts.h"
#include "lab/keep.h"
#include "lab/spawn.h"
#include "lab/wan.h"
#include "sys/clock.h"
#include "sys/file.h"

#define KEEPER_TRIES 1000 /* 10 ms apart */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* `ip -batch -`, in the namespace of that path when one is given. */
int lab_ip_batch(const char *netns, const struct sk_buf *commands, struct sk_err *err)
{
    const char *const plain[] = {"ip", "-batch", "-", NULL};
    const char *const inside[] = {"ip",     "-n", netns != NULL ? base_name(netns) : "",
                                  "-batch", "-",  NULL};
    return lab_run(NULL, netns != NULL ? inside : plain, sk_buf_str(commands), LAB_TOOL_MS, NULL,
                   err);
}

int lab_nft_load(const struct lab_net *net, const struct sk_buf *rules, struct sk_err *err)
{
    const char *const argv[] = {"nft", "-f", "-", NULL};
    return lab_run(net->router, argv, sk_buf_str(rules), LAB_TOOL_MS, NULL, err);
}

int lab_net_describe(const struct lab_topology *topology, const struct lab_net_options *options,
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
    net->maker = getpid();
    net->maker_start = lab_start_time(net->maker);
    net->own_dir = options->own_dir;
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
            node->control = site->control;
            node->bare = site->bare;
            node->cpus_nano = site->cpus_nano > 0 ? site->cpus_nano : LAB_CPUS_NANO;
            node->memory_bytes = site->memory_bytes > 0 ? site->memory_bytes : LAB_MEMORY_BYTES;
            node->disk_bytes = site->disk_bytes;
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
    int ret = lab_ip_batch(NULL, &b, err);
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
    int ret = lab_ip_batch(net->router, &b, err);
    for (size_t i = 0; ret == 0 && i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_buf_clear(&b);
        sk_buf_printf(&b,
                      "link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n"
                      "route add default via 10.99.%u.1\n",
                      node->address, node->site_number);
        ret = lab_ip_batch(node->netns, &b, err);
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
                      s, LAB_TABLE(s), s, s, LAB_TABLE(s), LAB_TABLE(s), LAB_TABLE(s));
    }
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_buf_printf(&b,
                      "route add %s via %s dev br%u\n"
                      "route add %s via %s dev br%u table %u\n",
                      node->prefix, node->address, node->site_number, node->prefix, node->address,
                      node->site_number, LAB_TABLE(node->site_number));
    }
    int ret = lab_ip_batch(net->router, &b, err);
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
    /* a host is cut at its port of the bridge: what it sends, and what is sent to it */
    sk_buf_adds(&b, "table bridge lab {\n    set cut {\n        type ifname\n    }\n"
                    "    chain in {\n        type filter hook prerouting priority -300\n"
                    "        iifname @cut drop\n    }\n"
                    "    chain out {\n        type filter hook postrouting priority -300\n"
                    "        oifname @cut drop\n    }\n}\n");
    int ret = lab_nft_load(net, &b, err);
    sk_buf_release(&b);
    return ret;
}

static void add_value(struct sk_buf *out, double value)
{
    if (value < 0) {
        sk_buf_adds(out, " -");
    } else {
        sk_buf_printf(out, " %.6f", value);
    }
}

void lab_add_set(struct sk_buf *out, unsigned from, unsigned to, const struct lab_direction *d)
{
    sk_buf_printf(out, "set %u %u", from, to);
    add_value(out, d->delay_ms);
    add_value(out, d->jitter_ms);
    add_value(out, d->loss_percent);
    add_value(out, d->mbit);
    sk_buf_addc(out, '\n');
}

static void link_commands(const struct lab_link_spec *link, struct sk_buf *out)
{
    const struct lab_direction half = {link->rtt_ms < 0 ? -1 : link->rtt_ms / 2,
                                       link->jitter_ms < 0 ? -1 : link->jitter_ms / 2,
                                       link->loss_percent, link->mbit};
    lab_add_set(out, (unsigned)link->a + 1, (unsigned)link->b + 1, &half);
    if (!link->one_way) {
        lab_add_set(out, (unsigned)link->b + 1, (unsigned)link->a + 1, &half);
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

/* ---- its keeper ---- */

/* The last line of what the keeper and its router said. */
static void why_not(const char *log_path, char out[200])
{
    struct sk_buf log = SK_BUF_INIT;
    struct sk_str rest, line;
    (void)snprintf(out, 200, "no reason given");
    if (sys_file_read(log_path, 1 << 20, &log, NULL) == 0) {
        for (rest = sk_buf_str(&log); rest.len > 0;) {
            (void)sk_str_cut(rest, '\n', &line, &rest);
            if (line.len > 0) {
                (void)snprintf(out, 200, "%.*s", SK_PRI(line));
            }
        }
    }
    sk_buf_release(&log);
}

/* *ret_word: what the keeper waits for, see lab_keep_run(); the caller closes it. */
static int start_keeper(struct lab_net *net, const struct lab_net_options *options, int *ret_word,
                        struct sk_err *err)
{
    const char *argv[] = {options->program, "keep", "--dir", net->dir, NULL, NULL};
    char log_path[300], why[200];
    struct lab_spawn how = LAB_SPAWN_INIT;
    int word[2];
    argv[4] = options->nogso ? "--no-gso" : NULL;
    (void)snprintf(log_path, sizeof(log_path), "%s/keep.log", net->dir);
    how.out = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (how.out < 0) {
        return sk_err_errno(err, errno, "open '%s'", log_path);
    }
    if (pipe2(word, O_CLOEXEC) < 0) {
        int code = errno;
        (void)close(how.out);
        return sk_err_errno(err, code, "make a pipe");
    }
    how.in = word[0];
    how.err = how.out;
    how.new_session = true;
    how.working_dir = "/";
    int ret = lab_spawn(&how, argv, &net->keeper, err);
    (void)close(how.out);
    (void)close(word[0]);
    if (ret == 0) {
        net->keeper_start = lab_start_time(net->keeper);
        net->maker = 0;
        ret = lab_state_write(net, err);
    }
    for (int tries = 0; ret == 0; tries++) {
        if (lab_keep_ask(net, SK_STR("ready"), NULL, NULL) == 0) {
            *ret_word = word[1];
            return 0;
        }
        if (lab_wait(net->keeper, 10, NULL) || tries == KEEPER_TRIES) {
            why_not(log_path, why);
            ret = sk_err_set(err, SK_ERR_ENGINE, "its keeper does not start: %s", why);
        }
    }
    (void)close(word[1]);
    return ret;
}

int lab_net_make(struct lab_net *net, const struct lab_topology *topology,
                 const struct lab_net_options *options, struct sk_err *err)
{
    int word = -1;
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
        ret = start_keeper(net, options, &word, err);
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
    ret = ret < 0 ? ret : lab_hosts_mount(net, err);
    if (ret == 0 && write(word, "g", 1) != 1) {
        ret = sk_err_errno(err, errno, "speak to the lab's keeper");
    }
    if (word >= 0) {
        (void)close(word);
    }
    return ret;
}
