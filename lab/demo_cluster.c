/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/tree.h"
#include "base/units.h"
#include "lab/demo_proc.h"
#include "lab/spawn.h"
#include "sys/clock.h"
#include "sys/file.h"

#define GROUPS_TRIES 50
#define COMMAND_MS 20000
#define LOG_BYTES_MAX (4 << 20)
#define APPLY_MS 90000
#define START_MS 10000
#define FOLDER_PREFIX "skerry-demo-"
#define ARGS_MAX 40

/* ---- commands ---- */

static int run_in(const struct demo_node *node, const char *const argv[], struct sk_str input,
                  int timeout_ms, struct sk_buf *out, struct sk_err *err)
{
    const char *netns = node != NULL && node->netns[0] != '\0' ? node->netns : NULL;
    return lab_run(netns, argv, input, timeout_ms, out, err);
}

int demo_skerry(const struct demo_cluster *c, const char *const args[], int timeout_ms,
                struct sk_buf *out, struct sk_err *err)
{
    const char *argv[ARGS_MAX] = {c->skerry};
    size_t n = 1;
    for (size_t i = 0; args[i] != NULL; i++) {
        SK_ASSERT(n + 3 < ARGS_MAX);
        argv[n++] = args[i];
    }
    argv[n++] = "--data";
    argv[n++] = demo_world_control(&c->world)->data;
    argv[n] = NULL;
    return lab_run(NULL, argv, SK_STR(""), timeout_ms, out, err);
}

/* One string member of a command's JSON answer; false if it is not there. */
static bool json_text(const struct sk_buf *json, const char *key, char *out, size_t size)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    bool found = false;
    if (sk_json_read(arena, "answer", sk_buf_str(json), NULL, &root, NULL) == 0) {
        struct sk_str s = sk_map_str(root, key, SK_STR(""));
        found = s.len > 0 && s.len < size;
        if (found) {
            memcpy(out, s.ptr, s.len);
            out[s.len] = '\0';
        }
    }
    sk_arena_free(arena);
    return found;
}

/* ---- folders ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)remove(path); /* what cannot go stays: the folder's own removal will show it */
    return 0;
}

static void remove_folder(const char *dir)
{
    (void)nftw(dir, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int make_folder(struct demo_cluster *c, struct sk_err *err)
{
    char path[128];
    char text[64];
    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/" FOLDER_PREFIX "XXXXXX");
    if (mkdtemp(c->dir) == NULL) {
        c->dir[0] = '\0';
        return sk_err_errno(err, errno, "make a folder in '/tmp'");
    }
    /* the daemons' unprivileged halves must pass through it to their own folders */
    if (chmod(c->dir, 0755) < 0) {
        return sk_err_errno(err, errno, "open '%s' to its daemons", c->dir);
    }
    (void)snprintf(path, sizeof(path), "%s/owner", c->dir);
    (void)snprintf(text, sizeof(text), "%d %llu\n", (int)getpid(), lab_start_time(getpid()));
    return sys_file_write(path, sk_str(text), 0644, err);
}

/* ---- the network ---- */

static void topology_of(struct demo_world *w, struct sk_arena *arena, struct lab_topology *ret)
{
    size_t nsites = w->inv->nsites + w->shop->nusers;
    size_t max_links = nsites * nsites;
    struct lab_topology t = {
        .sites = SK_ARENA_ARRAY(arena, struct lab_site_spec, nsites),
        .links = SK_ARENA_ARRAY(arena, struct lab_link_spec, max_links),
    };
    for (size_t i = 0; i < w->inv->nsites; i++) {
        struct sk_str *names = SK_ARENA_ARRAY(arena, struct sk_str, w->nnodes);
        struct lab_site_spec *site = &t.sites[t.nsites++];
        site->name = w->inv->sites[i].name;
        site->nodes = names;
        for (size_t k = 0; k < w->nnodes; k++) {
            if (sk_str_is(site->name, w->nodes[k].site)) {
                names[site->nnodes++] = sk_str(w->nodes[k].name);
            }
        }
    }
    for (size_t i = 0; i < w->shop->nusers; i++) {
        struct sk_str *name = SK_ARENA_ARRAY(arena, struct sk_str, 1);
        name[0] = sk_arena_printf(arena, "users-%.*s", SK_PRI(w->shop->users[i].name));
        t.sites[t.nsites++] = (struct lab_site_spec){name[0], name, 1};
    }
    for (size_t a = 0; a < t.nsites; a++) {
        for (size_t b = a + 1; b < t.nsites; b++) {
            struct sk_str one =
                a < w->inv->nsites ? t.sites[a].name : w->shop->users[a - w->inv->nsites].name;
            struct sk_str two =
                b < w->inv->nsites ? t.sites[b].name : w->shop->users[b - w->inv->nsites].name;
            double rtt =
                demo_rtt(w, b < w->inv->nsites ? one : two, b < w->inv->nsites ? two : one);
            if (rtt > 0) {
                t.links[t.nlinks++] = (struct lab_link_spec){.a = a, .b = b, .rtt_ms = rtt};
            }
        }
    }
    *ret = t;
}

static int make_lab(struct demo_cluster *c, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology;
    char dir[128];
    (void)snprintf(dir, sizeof(dir), "%s/lab", c->dir);
    const struct lab_net_options options = {
        .dir = dir, .program = c->lab_program, .owner = getpid()};
    topology_of(&c->world, arena, &topology);
    int r = lab_net_up(&topology, &options, &c->net, err);
    for (size_t i = 0; r == 0 && i < c->world.nnodes; i++) {
        struct demo_node *node = &c->world.nodes[i];
        const struct lab_node *from = lab_net_find(c->net, sk_str(node->name));
        SK_ASSERT(from != NULL); /* the topology was made from these nodes */
        memcpy(node->address, from->address, sizeof(node->address));
        memcpy(node->netns, from->netns, sizeof(node->netns));
    }
    sk_arena_free(arena);
    return r;
}

/* 127.R.S.H with R of this run: demos run side by side with the ordinary ports. */
static void give_addresses(struct demo_world *w)
{
    uint8_t random;
    sys_random(&random, sizeof(random));
    for (size_t i = 0; i < w->nnodes; i++) {
        int64_t site = inventory_site(w->inv, sk_str(w->nodes[i].site));
        (void)snprintf(w->nodes[i].address, sizeof(w->nodes[i].address), "127.%u.%u.%u",
                       64U + random % 128, (unsigned)(site + 1) & 255, (unsigned)(11 + i) & 255);
    }
}

/* ---- the servers ---- */

static int start_daemon(struct demo_cluster *c, size_t i, struct sk_err *err)
{
    const struct demo_node *node = &c->world.nodes[i];
    const char *const argv[] = {c->skerry, "daemon", "--data", node->data, NULL};
    char log_path[200];
    (void)snprintf(log_path, sizeof(log_path), "%s/%s.log", c->dir, node->name);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) {
        return sk_err_errno(err, errno, "open '%s'", log_path);
    }
    struct lab_spawn how = LAB_SPAWN_INIT;
    how.netns = node->netns[0] != '\0' ? node->netns : NULL;
    how.out = log;
    how.err = log;
    how.new_session = true;
    how.die_with_parent = true;
    int r = lab_spawn(&how, argv, &c->children[i], err);
    (void)close(log);
    return r;
}

/* The arguments that init and join share. */
struct setup {
    char cpus[32], memory[32], disk[32], control[40];
    const char *argv[ARGS_MAX];
    size_t n;
};

static void add(struct setup *s, const char *a, const char *b)
{
    SK_ASSERT(s->n + 3 < ARGS_MAX);
    s->argv[s->n++] = a;
    if (b != NULL) {
        s->argv[s->n++] = b;
    }
    s->argv[s->n] = NULL;
}

static void format(void (*how)(struct sk_buf *, int64_t), int64_t value, char out[32])
{
    struct sk_buf text = SK_BUF_INIT;
    how(&text, value);
    (void)snprintf(out, 32, "%.31s", text.ptr);
    sk_buf_release(&text);
}

static void begin_setup(const struct demo_cluster *c, const struct demo_node *node,
                        const char *command, struct setup *s)
{
    int64_t index = inventory_node(c->world.inv, sk_str(node->name));
    const struct node *facts = &c->world.inv->nodes[index];
    *s = (struct setup){0};
    format(sk_format_cpus, facts->cpus_nano, s->cpus);
    format(sk_format_bytes, facts->memory_bytes, s->memory);
    format(sk_format_bytes, facts->disk_bytes, s->disk);
    (void)snprintf(s->control, sizeof(s->control), "%s:7400",
                   demo_world_control(&c->world)->address);
    add(s, c->skerry, command);
    if (strcmp(command, "join") == 0) {
        add(s, s->control, NULL);
    }
    add(s, "--site", node->site);
    add(s, "--node", node->name);
    add(s, "--address", node->address);
    add(s, "--data", node->data);
    add(s, "--cpus", s->cpus);
    add(s, "--memory", s->memory);
    if (facts->disk_bytes > 0) {
        add(s, "--disk", s->disk);
    }
    if (c->net == NULL) {
        add(s, "--listen", node->address);
    }
    add(s, "--json", NULL);
}

/* Routes the prefix that the cluster gave to the node, as a mesh between servers would. */
static int take_prefix(struct demo_cluster *c, const struct demo_node *node,
                       const struct sk_buf *answer, struct sk_err *err)
{
    char prefix[32];
    if (c->net == NULL) {
        return 0;
    }
    if (!json_text(answer, "prefix", prefix, sizeof(prefix))) {
        return sk_err_set(err, SK_ERR_ENGINE, "node '%s' got no prefix", node->name);
    }
    return lab_net_route(c->net, sk_str(node->name), sk_str(prefix), err);
}

static int wait_for_socket(const char *data, struct sk_err *err)
{
    char path[200];
    (void)snprintf(path, sizeof(path), "%s/run/api.sock", data);
    for (int64_t end = sys_now_ms() + START_MS; sys_now_ms() < end;) {
        if (access(path, F_OK) == 0) {
            return 0;
        }
        const struct timespec wait = {0, 20000000};
        (void)nanosleep(&wait, NULL); /* woken early: looks again a little sooner */
    }
    return sk_err_set(err, SK_ERR_TIMEOUT, "the daemon of '%s' does not open its socket", data);
}

static int start_first(struct demo_cluster *c, struct sk_err *err)
{
    const struct demo_node *node = demo_world_control(&c->world);
    struct sk_buf out = SK_BUF_INIT;
    struct setup s;
    char currency[16];
    begin_setup(c, node, "init", &s);
    (void)snprintf(currency, sizeof(currency), "%.*s", SK_PRI(c->world.inv->currency));
    add(&s, "--control-only", NULL);
    add(&s, "--lab", NULL);
    add(&s, "--cluster", "demo");
    add(&s, "--currency", currency);
    int r = run_in(node, s.argv, SK_STR(""), COMMAND_MS, &out, err);
    r = r < 0 ? r : take_prefix(c, node, &out, err);
    r = r < 0 ? r : start_daemon(c, 0, err);
    r = r < 0 ? r : wait_for_socket(node->data, err);
    sk_buf_release(&out);
    return r;
}

static int start_other(struct demo_cluster *c, size_t i, struct sk_err *err)
{
    const struct demo_node *node = &c->world.nodes[i];
    const char *const token_args[] = {"token", "--site", node->site, NULL};
    struct sk_buf token = SK_BUF_INIT;
    struct sk_buf out = SK_BUF_INIT;
    struct setup s;
    int r = demo_skerry(c, token_args, COMMAND_MS, &token, err);
    begin_setup(c, node, "join", &s);
    r = r < 0 ? r : run_in(node, s.argv, sk_buf_str(&token), COMMAND_MS, &out, err);
    r = r < 0 ? r : take_prefix(c, node, &out, err);
    r = r < 0 ? r : start_daemon(c, i, err);
    sk_buf_release(&token);
    sk_buf_release(&out);
    return r;
}

static int set_site(const struct demo_cluster *c, const struct site *site, struct sk_err *err)
{
    char name[64], region[64], country[64], provider[64], at[80], egress[40];
    const char *args[20] = {"site", "set", name};
    size_t n = 3;
    (void)snprintf(name, sizeof(name), "%.*s", SK_PRI(site->name));
    (void)snprintf(region, sizeof(region), "%.*s", SK_PRI(site->region));
    (void)snprintf(country, sizeof(country), "%.*s", SK_PRI(site->country));
    (void)snprintf(provider, sizeof(provider), "%.*s", SK_PRI(site->provider));
    (void)snprintf(at, sizeof(at), "%.6f,%.6f", site->lat, site->lon);
    (void)snprintf(egress, sizeof(egress), "%.9g", site->egress_per_gb);
    const struct {
        const char *flag, *value;
        bool known;
    } facts[] = {{"--region", region, region[0] != '\0'},
                 {"--country", country, country[0] != '\0'},
                 {"--provider", provider, provider[0] != '\0'},
                 {"--at", at, site->has_at},
                 {"--egress-per-gb", egress, site->has_egress}};
    for (size_t i = 0; i < SK_ARRAY_LEN(facts); i++) {
        if (facts[i].known) {
            args[n++] = facts[i].flag;
            args[n++] = facts[i].value;
        }
    }
    args[n] = NULL;
    return demo_skerry(c, args, COMMAND_MS, NULL, err);
}

static int set_facts(const struct demo_cluster *c, struct sk_err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->world.inv->nsites; i++) {
        r = set_site(c, &c->world.inv->sites[i], err);
    }
    for (size_t i = 0; r == 0 && i < c->world.nnodes; i++) {
        int64_t index = inventory_node(c->world.inv, sk_str(c->world.nodes[i].name));
        char price[40];
        (void)snprintf(price, sizeof(price), "%.9g", c->world.inv->nodes[index].price_hour);
        const char *const args[] = {"node",         "set", c->world.nodes[i].name,
                                    "--price-hour", price, NULL};
        if (c->world.inv->nodes[index].has_price) {
            r = demo_skerry(c, args, COMMAND_MS, NULL, err);
        }
    }
    return r;
}

/* ---- the shop ---- */

static int make_shop(struct demo_cluster *c, struct sk_err *err)
{
    char script[512], folder[160], images[200];
    (void)snprintf(script, sizeof(script), "%s/make-images.sh", c->examples);
    (void)snprintf(folder, sizeof(folder), "%s/shop", c->dir);
    (void)snprintf(images, sizeof(images), "oci:%s/layout", folder);
    const char *const argv[] = {script, "all", folder, NULL};
    int r = lab_run(NULL, argv, SK_STR(""), APPLY_MS, NULL, err);
    if (r == 0 &&
        (setenv("SHOP_IMAGES", images, 1) < 0 || setenv("SHOP_PROGRAMS", folder, 1) < 0)) {
        r = sk_err_errno(err, errno, "set a variable");
    }
    return r;
}

static int apply_shop(const struct demo_cluster *c, struct sk_err *err)
{
    const char *const args[] = {"apply", c->compose, "--wait", "--timeout", "80s", NULL};
    return demo_skerry(c, args, APPLY_MS, NULL, err);
}

/* Every serving site's ingress answers for the shop. */
static int wait_for_ingress(struct demo_cluster *c, struct sk_err *err)
{
    struct sk_err last = {0};
    char answer[256];
    const struct service *web = NULL;
    for (size_t i = 0; i < c->world.shop->nservices; i++) {
        web = c->world.shop->services[i].has_route ? &c->world.shop->services[i] : web;
    }
    if (web == NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "no service of the shop has a route");
    }
    for (size_t i = 0; i < c->world.inv->nsites; i++) {
        const struct site *site = &c->world.inv->sites[i];
        const char *netns = demo_users_netns(c, c->world.shop->users[0].name);
        bool up = !demo_site_serves(site);
        for (int64_t end = sys_now_ms() + START_MS; !up && sys_now_ms() < end;) {
            up = demo_ingress(c, site->name, c->ingress[i], &last) == 0 &&
                 demo_http(netns, c->ingress[i], c->ingress_port, web->route_host.ptr, 500, answer,
                           sizeof(answer)) &&
                 strncmp(answer + 8, " 200", 4) == 0;
            const struct timespec wait = {0, 50000000};
            (void)nanosleep(&wait, NULL); /* woken early: looks again a little sooner */
        }
        if (!up) {
            return sk_err_set(err, SK_ERR_TIMEOUT, "the ingress of site '%.*s' does not answer",
                              SK_PRI(site->name));
        }
    }
    return 0;
}

static int bring_up(struct demo_cluster *c, const struct demo_cluster_options *o,
                    struct sk_err *err)
{
    bool root = geteuid() == 0;
    o->say(o->ctx, root ? "network: a namespace for each server, links with real delays"
                        : "network: an address of loopback for each server (delays need root)");
    if (!root) {
        give_addresses(&c->world);
    }
    int r = root ? make_lab(c, err) : 0;
    for (size_t i = 0; i < c->world.nnodes; i++) {
        (void)snprintf(c->world.nodes[i].data, sizeof(c->world.nodes[i].data), "%s/%s", c->dir,
                       c->world.nodes[i].name);
    }
    if (r == 0) {
        o->say(o->ctx, "servers: one makes the cluster, the others join it by token");
        r = start_first(c, err);
    }
    for (size_t i = 1; r == 0 && i < c->world.nnodes; i++) {
        r = start_other(c, i, err);
    }
    if (r == 0) {
        r = set_facts(c, err);
    }
    if (r == 0) {
        o->say(o->ctx, root ? "app: images from busybox, then skerry apply"
                            : "app: programs from busybox, then skerry apply");
        r = make_shop(c, err);
    }
    r = r < 0 ? r : apply_shop(c, err);
    return r < 0 ? r : wait_for_ingress(c, err);
}

/* What the servers complained of last, before their logs go away with the folder. */
static void say_complaints(const struct demo_cluster *c, const struct demo_cluster_options *o)
{
    for (size_t i = 0; i < c->world.nnodes; i++) {
        char path[200], line[400];
        struct sk_buf log = SK_BUF_INIT;
        const char *last = NULL;
        (void)snprintf(path, sizeof(path), "%s/%s.log", c->dir, c->world.nodes[i].name);
        if (sys_file_read(path, LOG_BYTES_MAX, &log, NULL) == 0) {
            for (const char *at = log.ptr; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
                at += *at == '\n';
                last = strncmp(at, "<3>", 3) == 0 || strncmp(at, "<4>", 3) == 0 ? at : last;
            }
        }
        if (last != NULL) {
            (void)snprintf(line, sizeof(line), "  %s: %.*s", c->world.nodes[i].name,
                           (int)strcspn(last, "\n") - 3, last + 3);
            o->say(o->ctx, line);
        }
        sk_buf_release(&log);
    }
}

int demo_cluster_up(const struct demo_cluster_options *o, struct demo_cluster *ret,
                    struct sk_err *err)
{
    struct demo_cluster c = {
        .skerry = o->skerry, .lab_program = o->lab_program, .examples = o->examples};
    bool root = geteuid() == 0;
    const char *declaration = root ? "compose.yaml" : "compose-programs.yaml";
    c.ingress_port = root ? 80 : 8080;
    (void)snprintf(c.compose, sizeof(c.compose), "%s/%s", o->examples, declaration);
    demo_cluster_clean();
    int r = demo_world_read(o->examples, declaration, &c.world, err);
    r = r < 0 ? r : make_folder(&c, err);
    r = r < 0 ? r : bring_up(&c, o, err);
    if (r < 0) {
        say_complaints(&c, o);
        demo_cluster_down(&c);
        return r;
    }
    *ret = c;
    return 0;
}

/* ---- down ---- */

/* What the runtime made for the instances of a node and nobody removes once all are killed. Those
 * who were killed leave their group a moment later. */
static void remove_cgroups(const char *data)
{
    const struct timespec pause = {.tv_nsec = 20000000};

    for (int i = 0; i < GROUPS_TRIES && !cgroup_forget(data); i++) {
        (void)nanosleep(&pause, NULL);
    }
}

void demo_cluster_down(struct demo_cluster *c)
{
    if (c->world.inv != NULL && c->world.nodes[0].data[0] != '\0') {
        (void)demo_signal_all(&c->world, SIGKILL);
        for (size_t i = 0; i < c->world.nnodes; i++) {
            if (c->children[i] > 0) {
                (void)lab_wait(c->children[i], 1000, NULL); /* killed above */
            }
        }
        for (size_t i = 0; c->net != NULL && i < c->world.nnodes; i++) {
            remove_cgroups(c->world.nodes[i].data);
        }
    }
    if (c->net != NULL) {
        char dir[128];
        (void)snprintf(dir, sizeof(dir), "%s/lab", c->dir);
        (void)lab_net_down(dir, NULL); /* else the next one clears it away */
        lab_net_free(c->net);
        c->net = NULL;
    }
    if (c->dir[0] != '\0') {
        remove_folder(c->dir);
    }
    demo_world_release(&c->world);
}

/* A world that consists of one folder: all processes that name anything below it. */
static void end_leftover(const char *dir)
{
    struct demo_world *w = sk_xcalloc(1, sizeof(*w));
    DIR *folder = opendir(dir);
    const struct dirent *entry;
    w->nnodes = 1;
    (void)snprintf(w->nodes[0].data, sizeof(w->nodes[0].data), "%.120s", dir);
    (void)demo_signal_all(w, SIGKILL);
    free(w);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char data[200];
        (void)snprintf(data, sizeof(data), "%.120s/%.64s/agent", dir, entry->d_name);
        if (entry->d_name[0] != '.' && access(data, F_OK) == 0) {
            (void)snprintf(data, sizeof(data), "%.120s/%.64s", dir, entry->d_name);
            remove_cgroups(data);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    remove_folder(dir);
}

void demo_cluster_clean(void)
{
    DIR *tmp = opendir("/tmp");
    const struct dirent *entry;
    while (tmp != NULL && (entry = readdir(tmp)) != NULL) {
        char dir[128], path[160];
        struct sk_buf text = SK_BUF_INIT;
        struct stat st;
        int pid;
        unsigned long long start;
        if (strncmp(entry->d_name, FOLDER_PREFIX, strlen(FOLDER_PREFIX)) != 0 ||
            strlen(entry->d_name) > 40) {
            continue;
        }
        (void)snprintf(dir, sizeof(dir), "/tmp/%.60s", entry->d_name);
        (void)snprintf(path, sizeof(path), "%s/owner", dir);
        if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
            sys_file_read(path, 64, &text, NULL) == 0 && text.len > 0 &&
            sscanf(text.ptr, "%d %llu", &pid, &start) == 2 && lab_start_time(pid) != start) {
            end_leftover(dir);
        }
        sk_buf_release(&text);
    }
    if (tmp != NULL) {
        (void)closedir(tmp);
    }
    if (geteuid() == 0) {
        (void)lab_net_clean(NULL); /* what is left is tried again by the next */
    }
}
