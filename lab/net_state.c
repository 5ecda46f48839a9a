/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/net_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/spawn.h"
#include "sys/file.h"

#define STATE_BYTES_MAX (1 << 20)

static void state_json(const struct lab_net *net, struct sk_buf *out)
{
    struct sk_jw w;
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.lab/1");
    sk_jw_kcstr(&w, "id", net->id);
    sk_jw_kcstr(&w, "dir", net->dir);
    sk_jw_kint(&w, "owner", net->owner);
    sk_jw_kint(&w, "owner_start", (int64_t)net->owner_start);
    sk_jw_kint(&w, "maker", net->maker);
    sk_jw_kint(&w, "maker_start", (int64_t)net->maker_start);
    sk_jw_kint(&w, "keeper", net->keeper);
    sk_jw_kint(&w, "keeper_start", (int64_t)net->keeper_start);
    sk_jw_kbool(&w, "own_dir", net->own_dir);
    sk_jw_kcstr(&w, "router", net->router);
    sk_jw_kcstr(&w, "control", net->control);
    sk_jw_key(&w, "sites");
    sk_jw_arr(&w);
    for (size_t i = 1; i <= net->nsites; i++) {
        sk_jw_cstr(&w, net->sites[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "nodes");
    sk_jw_arr(&w);
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "name", node->name);
        sk_jw_kint(&w, "site", node->site_number);
        sk_jw_kcstr(&w, "address", node->address);
        sk_jw_kcstr(&w, "prefix", node->prefix);
        sk_jw_kcstr(&w, "netns", node->netns);
        sk_jw_kbool(&w, "control", node->control);
        sk_jw_kbool(&w, "bare", node->bare);
        sk_jw_kint(&w, "cpus_nano", node->cpus_nano);
        sk_jw_kint(&w, "memory_bytes", node->memory_bytes);
        sk_jw_kint(&w, "disk_bytes", node->disk_bytes);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
    sk_buf_addc(out, '\n');
}

static void state_paths(const struct lab_net *net, char registry[300], char local[300])
{
    (void)snprintf(registry, 300, "%s/%s.json", LAB_REGISTRY, net->id);
    (void)snprintf(local, 300, "%s/lab.json", net->dir);
}

int lab_state_write(const struct lab_net *net, struct sk_err *err)
{
    char registry[300];
    char local[300];
    struct sk_buf text = SK_BUF_INIT;
    state_paths(net, registry, local);
    state_json(net, &text);
    int ret = sys_file_write(registry, sk_buf_str(&text), 0600, err);
    if (ret == 0) {
        ret = sys_file_write(local, sk_buf_str(&text), 0600, err);
    }
    sk_buf_release(&text);
    return ret;
}

void lab_state_remove(const struct lab_net *net)
{
    char registry[300];
    char local[300];
    state_paths(net, registry, local);
    (void)unlink(local); /* a folder that was removed took it along */
    (void)unlink(registry);
}

/* Copies a string of the record; false if it is missing or too long. */
static bool take(const struct sk_node *map, const char *key, char *out, size_t size)
{
    struct sk_str s = sk_map_str(map, key, SK_STR(""));
    if (s.len == 0 || s.len >= size) {
        return false;
    }
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

static bool is_own_netns(const char *path)
{
    return strncmp(path, "/run/netns/skl-", 15) == 0 && strchr(path + 15, '/') == NULL;
}

static bool take_nodes(struct lab_net *net, const struct sk_node *nodes)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        const struct sk_node *map = &nodes->u.items[i];
        struct lab_node *node = &net->nodes[net->nnodes];
        int64_t site = sk_map_int(map, "site", 0);
        bool ok = take(map, "name", node->name, sizeof(node->name)) &&
                  take(map, "address", node->address, sizeof(node->address)) &&
                  take(map, "prefix", node->prefix, sizeof(node->prefix)) &&
                  take(map, "netns", node->netns, sizeof(node->netns)) &&
                  is_own_netns(node->netns) && site >= 1 && site <= (int64_t)net->nsites;
        if (!ok) {
            return false;
        }
        node->site_number = (unsigned)site;
        node->control = sk_map_bool(map, "control", false);
        node->bare = sk_map_bool(map, "bare", false);
        node->cpus_nano = sk_map_int(map, "cpus_nano", LAB_CPUS_NANO);
        node->memory_bytes = sk_map_int(map, "memory_bytes", LAB_MEMORY_BYTES);
        node->disk_bytes = sk_map_int(map, "disk_bytes", 0);
        memcpy(node->site, net->sites[site], sizeof(node->site));
        node->number = (unsigned)++net->nnodes;
    }
    return true;
}

static bool take_state(struct lab_net *net, const struct sk_node *root)
{
    const struct sk_node *sites = sk_map_seq(root, "sites");
    const struct sk_node *nodes = sk_map_seq(root, "nodes");
    if (sites == NULL || sites->count > LAB_SITES_MAX || nodes == NULL ||
        nodes->count > LAB_NODES_MAX || !take(root, "id", net->id, sizeof(net->id)) ||
        !take(root, "dir", net->dir, sizeof(net->dir)) ||
        !take(root, "router", net->router, sizeof(net->router)) || !is_own_netns(net->router) ||
        !take(root, "control", net->control, sizeof(net->control))) {
        return false;
    }
    net->owner = (pid_t)sk_map_int(root, "owner", 0);
    net->owner_start = (unsigned long long)sk_map_int(root, "owner_start", 0);
    net->maker = (pid_t)sk_map_int(root, "maker", 0);
    net->maker_start = (unsigned long long)sk_map_int(root, "maker_start", 0);
    net->keeper = (pid_t)sk_map_int(root, "keeper", 0);
    net->keeper_start = (unsigned long long)sk_map_int(root, "keeper_start", 0);
    net->own_dir = sk_map_bool(root, "own_dir", false);
    for (uint32_t i = 0; i < sites->count; i++) {
        struct sk_str name =
            sites->u.items[i].kind == SK_STRING ? sites->u.items[i].u.text : SK_STR("");
        if (!sk_str_is_label(name)) {
            return false;
        }
        net->nsites++;
        memcpy(net->sites[net->nsites], name.ptr, name.len);
    }
    return take_nodes(net, nodes);
}

int lab_state_read(const char *path, struct lab_net **ret, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    int code = sys_file_read(path, STATE_BYTES_MAX, &text, err);
    if (code < 0) {
        sk_buf_release(&text);
        return code;
    }
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct lab_net *net = sk_xcalloc(1, sizeof(*net));
    if (sk_json_read(arena, path, sk_buf_str(&text), NULL, &root, NULL) < 0 ||
        !take_state(net, root)) {
        free(net);
        net = NULL;
    }
    sk_arena_free(arena);
    sk_buf_release(&text);
    if (net == NULL) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'%s' is not the record of a lab", path);
    }
    *ret = net;
    return 0;
}

bool lab_state_owner_lives(const struct lab_net *net)
{
    return net->owner == 0 || lab_start_time(net->owner) == net->owner_start;
}

bool lab_state_is_kept(const struct lab_net *net)
{
    if (net->keeper != 0) {
        return lab_start_time(net->keeper) == net->keeper_start;
    }
    return net->maker == 0 || lab_start_time(net->maker) == net->maker_start;
}

int lab_state_lock(int *ret_fd, struct sk_err *err)
{
    if (mkdir(LAB_REGISTRY, 0700) < 0 && errno != EEXIST) {
        return sk_err_errno(err, errno, "make folder '%s'", LAB_REGISTRY);
    }
    int fd = open(LAB_REGISTRY "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_OFD_SETLKW, &all) < 0) {
        int code = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return sk_err_errno(err, code, "lock '%s'", LAB_REGISTRY "/lock");
    }
    *ret_fd = fd;
    return 0;
}
