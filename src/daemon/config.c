/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/version.h"
#include "sys/file.h"

#define CONFIG_BYTES_MAX 65536
#define SYSTEM_CPUS_NANO (SK_NANO / 4)
#define SYSTEM_MEMORY_BYTES (512LL << 20)

void daemon_config_init(struct daemon_config *config, const char *dir)
{
    memset(config, 0, sizeof(*config));
    (void)snprintf(config->dir, sizeof(config->dir), "%s", dir);
    (void)snprintf(config->listen, sizeof(config->listen), "0.0.0.0");
    config->channel_port = 7400;
    config->probe_port = 7401;
    config->api_port = 7410;
    config->ingress_port = geteuid() == 0 ? 80 : 8080;
    config->relay_port = 7443;
    config->etcd_peer_port = 2380;
    config->etcd_client_port = 2379;
}

static void copy_text(char *out, size_t size, const struct sk_node *root, const char *key)
{
    struct sk_str s = sk_map_str(root, key, SK_STR(""));
    (void)snprintf(out, size, "%.*s", SK_PRI(s));
}

static int read_port(const struct sk_node *root, const char *key, uint16_t *port,
                     struct sk_err *err)
{
    const struct sk_node *node = sk_map_get(root, sk_str(key));
    int64_t n;

    if (!node) {
        return 0; /* written by an older version: the default stands */
    }
    if (node->kind != SK_NUMBER || sk_parse_int(node->u.text, 0, 65535, &n, NULL) < 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'%s' is no port", key);
    }
    *port = (uint16_t)n;
    return 0;
}

static void read_controls(const struct sk_node *root, struct daemon_config *c)
{
    const struct sk_node *controls = sk_map_seq(root, "controls");

    c->ncontrols = 0;
    for (uint32_t i = 0; controls && i < controls->count && c->ncontrols < DAEMON_CONTROLS_MAX;
         i++) {
        if (controls->u.items[i].kind == SK_STRING) {
            (void)snprintf(c->controls[c->ncontrols], sizeof(c->controls[0]), "%.*s",
                           SK_PRI(controls->u.items[i].u.text));
            c->ncontrols++;
        }
    }
}

static int from_tree(const struct sk_node *root, struct daemon_config *c, struct sk_err *err)
{
    copy_text(c->cluster, sizeof(c->cluster), root, "cluster");
    copy_text(c->node, sizeof(c->node), root, "node");
    copy_text(c->site, sizeof(c->site), root, "site");
    copy_text(c->prefix, sizeof(c->prefix), root, "prefix");
    copy_text(c->address, sizeof(c->address), root, "address");
    copy_text(c->listen, sizeof(c->listen), root, "listen");
    copy_text(c->incarnation, sizeof(c->incarnation), root, "incarnation");
    copy_text(c->user, sizeof(c->user), root, "user");
    c->is_control = sk_map_bool(root, "control", false);
    read_controls(root, c);
    if (read_port(root, "channel_port", &c->channel_port, err) < 0 ||
        read_port(root, "probe_port", &c->probe_port, err) < 0 ||
        read_port(root, "api_port", &c->api_port, err) < 0 ||
        read_port(root, "ingress_port", &c->ingress_port, err) < 0 ||
        read_port(root, "relay_port", &c->relay_port, err) < 0 ||
        read_port(root, "etcd_peer_port", &c->etcd_peer_port, err) < 0 ||
        read_port(root, "etcd_client_port", &c->etcd_client_port, err) < 0) {
        return SK_ERR_CORRUPT;
    }
    if (!c->cluster[0] || !sk_str_is_label(sk_str(c->node)) || !sk_str_is_label(sk_str(c->site)) ||
        c->ncontrols == 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "it lacks cluster, node, site or controls");
    }
    return 0;
}

static void role_path(const char *dir, char out[512])
{
    (void)snprintf(out, 512, "%s/identity/role.json", dir);
}

/* None, as a rule: it was never changed. */
static int load_role(struct daemon_config *config, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct sk_err why = {0};
    char path[512];
    int r;

    role_path(config->dir, path);
    r = sys_file_read(path, CONFIG_BYTES_MAX, &buf, &why);
    if (r == 0) {
        r = sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, &why);
    }
    if (r == 0 && root->kind == SK_MAP) {
        config->is_control = sk_map_bool(root, "control", config->is_control);
        if (sk_map_seq(root, "controls") && sk_map_seq(root, "controls")->count > 0) {
            read_controls(root, config);
        }
    }
    if (r == SK_ERR_NOT_FOUND) {
        r = 0;
    } else if (r < 0 && err) {
        *err = why;
    }
    sk_arena_free(arena);
    sk_buf_release(&buf);
    return r;
}

int daemon_config_load(const char *dir, struct daemon_config *ret, struct sk_err *err)
{
    struct daemon_config config;
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    char path[512];
    int r;

    daemon_config_init(&config, dir);
    (void)snprintf(path, sizeof(path), "%s/node.json", dir);
    r = sys_file_read(path, CONFIG_BYTES_MAX, &buf, err);
    if (r < 0 && err && err->errnum == ENOENT) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND, "'%s' holds no server: it is in no cluster yet",
                         dir);
        r = sk_err_fix(
            err,
            "first server: skerry init --site NAME; any other: skerry join HOST:7400 --site NAME");
    }
    if (r == 0) {
        r = sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, err);
    }
    if (r == 0) {
        r = from_tree(root, &config, err);
        if (r < 0) {
            (void)sk_err_wrap(err, "'%s'", path);
        }
    }
    r = r < 0 ? r : load_role(&config, err);
    if (r == 0) {
        *ret = config;
    }
    sk_arena_free(arena);
    sk_buf_release(&buf);
    return r;
}

static const char *const members[] = {
    "v",          "cluster",  "node",         "site",       "prefix",         "address",
    "listen",     "user",     "incarnation",  "control",    "controls",       "channel_port",
    "probe_port", "api_port", "ingress_port", "relay_port", "etcd_peer_port", "etcd_client_port"};

/* What another version wrote into the file that is there now. */
static void write_rest(const char *path, struct sk_jw *w)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root = NULL;

    if (sys_file_read(path, CONFIG_BYTES_MAX, &buf, NULL) == 0 &&
        sk_json_read(arena, path, sk_buf_str(&buf), NULL, &root, NULL) == 0) {
        (void)sk_jw_rest(w, root, members, SK_ARRAY_LEN(members));
    }
    sk_buf_release(&buf);
    sk_arena_free(arena);
}

static void write_controls(struct sk_jw *w, const struct daemon_config *c)
{
    sk_jw_kbool(w, "control", c->is_control);
    sk_jw_key(w, "controls");
    sk_jw_arr(w);
    for (unsigned i = 0; i < c->ncontrols; i++) {
        sk_jw_cstr(w, c->controls[i]);
    }
    sk_jw_arr_end(w);
}

int daemon_role_save(const struct daemon_config *c, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    char path[512];
    int r;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    write_controls(&w, c);
    role_path(c->dir, path);
    write_rest(path, &w);
    sk_jw_obj_end(&w);
    sk_version_extend(&buf);
    sk_buf_addc(&buf, '\n');
    r = sys_file_write(path, sk_buf_str(&buf), 0600, err);
    sk_buf_release(&buf);
    return r;
}

int daemon_config_save(const struct daemon_config *c, struct sk_err *err)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;
    char path[512];
    int r;

    sk_jw_init(&w, &buf);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "cluster", c->cluster);
    sk_jw_kcstr(&w, "node", c->node);
    sk_jw_kcstr(&w, "site", c->site);
    sk_jw_kcstr(&w, "prefix", c->prefix);
    sk_jw_kcstr(&w, "address", c->address);
    sk_jw_kcstr(&w, "listen", c->listen);
    sk_jw_kcstr(&w, "incarnation", c->incarnation);
    write_controls(&w, c);
    sk_jw_kint(&w, "channel_port", c->channel_port);
    sk_jw_kint(&w, "probe_port", c->probe_port);
    sk_jw_kint(&w, "api_port", c->api_port);
    sk_jw_kint(&w, "ingress_port", c->ingress_port);
    sk_jw_kint(&w, "relay_port", c->relay_port);
    sk_jw_kint(&w, "etcd_peer_port", c->etcd_peer_port);
    sk_jw_kint(&w, "etcd_client_port", c->etcd_client_port);
    sk_jw_kcstr(&w, "user", c->user);
    (void)snprintf(path, sizeof(path), "%s/node.json", c->dir);
    write_rest(path, &w);
    sk_jw_obj_end(&w);
    sk_version_extend(&buf);
    sk_buf_addc(&buf, '\n');
    role_path(c->dir, path);
    r = sys_file_remove(path, err);
    (void)snprintf(path, sizeof(path), "%s/node.json", c->dir);
    r = r < 0 ? r : sys_file_write(path, sk_buf_str(&buf), 0644, err);
    sk_buf_release(&buf);
    return r;
}

/* The first word of a small file, or "". */
static void read_word(const char *path, char *out, size_t size)
{
    struct sk_buf buf = SK_BUF_INIT;
    size_t n = 0;

    out[0] = '\0';
    if (sys_file_read(path, 4096, &buf, NULL) == 0) {
        while (n < buf.len && n + 1 < size && buf.ptr[n] > ' ' && buf.ptr[n] < 0x7f) {
            out[n] = buf.ptr[n];
            n++;
        }
        out[n] = '\0';
    }
    sk_buf_release(&buf);
}

static void detect_address(char *out, size_t size)
{
    struct ifaddrs *list = NULL;

    out[0] = '\0';
    if (getifaddrs(&list) != 0) {
        return;
    }
    for (struct ifaddrs *i = list; i && !out[0]; i = i->ifa_next) {
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK) &&
            (i->ifa_flags & IFF_UP)) {
            struct sockaddr_in v4;
            memcpy(&v4, i->ifa_addr, sizeof(v4));
            (void)inet_ntop(AF_INET, &v4.sin_addr, out, (socklen_t)size);
        }
    }
    freeifaddrs(list);
}

static void detect_hostname(char *out, size_t size)
{
    char name[256] = "";

    out[0] = '\0';
    if (gethostname(name, sizeof(name) - 1) != 0) {
        return;
    }
    name[strcspn(name, ".")] = '\0';
    for (char *p = name; *p; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            *p = (char)(*p - 'A' + 'a');
        }
    }
    if (sk_str_is_label(sk_str(name))) {
        (void)snprintf(out, size, "%s", name);
    }
}

int daemon_facts_detect(const char *dir, struct daemon_facts *ret, struct sk_err *err)
{
    struct daemon_facts facts = {0};
    struct sysinfo info;
    struct statvfs fs;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (sysinfo(&info) != 0 || cpus < 1) {
        return sk_err_errno(err, errno, "ask this machine for its size");
    }
    facts.cpus_nano = (int64_t)cpus * SK_NANO - SYSTEM_CPUS_NANO;
    facts.memory_bytes = (int64_t)info.totalram * info.mem_unit - SYSTEM_MEMORY_BYTES;
    if (facts.memory_bytes <= 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "this machine has less than 512M of memory");
    }
    if (statvfs(dir, &fs) != 0) {
        return sk_err_errno(err, errno, "ask for the room in '%s'", dir);
    }
    facts.disk_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    read_word("/etc/machine-id", facts.machine_id, sizeof(facts.machine_id));
    read_word("/proc/sys/kernel/random/boot_id", facts.boot, sizeof(facts.boot));
    detect_hostname(facts.hostname, sizeof(facts.hostname));
    detect_address(facts.address, sizeof(facts.address));
    *ret = facts;
    return 0;
}
