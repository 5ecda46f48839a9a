/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "lab/hosts.h"
#include "lab/keep.h"
#include "lab/net_state.h"
#include "lab/spawn.h"
#include "sys/clock.h"
#include "sys/file.h"

/* How a host comes up: init or join, then the daemon. Private to hosts.h. */

#define COMMAND_MS 30000
#define SOCKET_MS 20000
#define ALIVE_MS 30000
#define ARGS_MAX 32
#define LOG_BYTES_MAX (4 << 20)

const struct lab_node *lab_hosts_first(const struct lab_net *net)
{
    const struct lab_node *first = NULL;
    for (size_t i = 0; i < net->nnodes; i++) {
        const struct lab_node *node = &net->nodes[i];
        if (!node->bare && (first == NULL || (node->control && !first->control))) {
            first = node;
        }
    }
    return first;
}

static void nap(long ms)
{
    const struct timespec wait = {0, ms * 1000000};
    (void)nanosleep(&wait, NULL); /* woken early: looks again a little sooner */
}

/* ---- the daemon ---- */

static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        return false;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && connect(fd, (void *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return up;
}

/* The last line of the host's log, for the message. */
static void last_words(const struct lab_net *net, const struct lab_node *node, char out[300])
{
    char path[LAB_PATH_MAX];
    struct sk_buf log = SK_BUF_INIT;
    struct sk_str rest, line;
    lab_host_log(net, node, path);
    (void)snprintf(out, 300, "it said nothing");
    if (sys_file_read(path, LOG_BYTES_MAX, &log, NULL) == 0) {
        for (rest = sk_buf_str(&log); rest.len > 0;) {
            (void)sk_str_cut(rest, '\n', &line, &rest);
            if (line.len > 0) {
                (void)snprintf(out, 300, "%.*s", SK_PRI(line));
            }
        }
    }
    sk_buf_release(&log);
}

static int start_daemon(const struct lab_net *net, const struct lab_node *node, const char *skerry,
                        bool control, struct sk_err *err)
{
    sk_autofree struct lab_host_info *info = sk_xcalloc(net->nnodes, sizeof(*info));
    const struct lab_host_info *mine = &info[node->number - 1];
    char request[1024], data[LAB_PATH_MAX], socket_path[LAB_PATH_MAX + 32], words[300];
    lab_host_data(net, node, data);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/run/%s.sock", data,
                   control ? "api" : "agent");
    int ret = lab_hosts_look(net, info, err);
    unsigned starts = mine->starts;
    if (snprintf(request, sizeof(request), "start %s\n%s", node->name, skerry) >=
        (int)sizeof(request)) {
        ret = sk_err_set(err, SK_ERR_LIMIT, "the path of skerry is too long");
    }
    ret = ret < 0 ? ret : lab_keep_ask(net, sk_str(request), NULL, err);
    for (int64_t end = sys_now_ms() + SOCKET_MS; ret == 0; nap(20)) {
        ret = lab_hosts_look(net, info, err);
        if (ret == 0 && mine->daemon && answers(socket_path)) {
            return 0;
        }
        bool ended = ret == 0 && !mine->daemon && mine->starts > starts;
        if (ended || sys_now_ms() > end) {
            last_words(net, node, words);
            ret = sk_err_set(err, ended ? SK_ERR_ENGINE : SK_ERR_TIMEOUT,
                             "the daemon of host '%s' %s: %s", node->name,
                             ended ? "ended at once" : "does not open its socket", words);
        }
    }
    return ret;
}

/* ---- init and join ---- */

static void format(void (*how)(struct sk_buf *, int64_t), int64_t value, char out[32])
{
    struct sk_buf text = SK_BUF_INIT;
    how(&text, value);
    (void)snprintf(out, 32, "%.31s", text.ptr);
    sk_buf_release(&text);
}

/* The cluster gives each node a prefix; the lab routes it there, as a mesh between servers would.
 */
static int take_prefix(const struct lab_net *net, const struct lab_node *node,
                       const struct sk_buf *answer, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int ret = sk_json_read(arena, "skerry's answer", sk_buf_str(answer), NULL, &root, err);
    if (ret == 0) {
        ret = lab_net_route(net, sk_str(node->name), sk_map_str(root, "prefix", SK_STR("")), err);
    }
    sk_arena_free(arena);
    return ret;
}

/* first: the address to join at; NULL = this is the first. */
static int set_up(const struct lab_net *net, const struct lab_node *node, const char *skerry,
                  const struct lab_node *first, struct sk_str token, struct sk_err *err)
{
    char cpus[32], memory[32], disk[32], data[LAB_PATH_MAX], control[40] = "";
    const char *argv[ARGS_MAX] = {skerry, first != NULL ? "join" : "init"};
    struct sk_buf answer = SK_BUF_INIT;
    size_t n = 2;
    lab_host_data(net, node, data);
    format(sk_format_cpus, node->cpus_nano, cpus);
    format(sk_format_bytes, node->memory_bytes, memory);
    format(sk_format_bytes, node->disk_bytes, disk);
    if (first != NULL) {
        (void)snprintf(control, sizeof(control), "%s:7400", first->address);
        argv[n++] = control;
    }
    const char *const common[] = {"--site",      node->site, "--node", node->name, "--address",
                                  node->address, "--data",   data,     "--cpus",   cpus,
                                  "--memory",    memory,     "--json"};
    for (size_t i = 0; i < SK_ARRAY_LEN(common); i++) {
        argv[n++] = common[i];
    }
    if (node->disk_bytes > 0) {
        argv[n++] = "--disk";
        argv[n++] = disk;
    }
    if (first == NULL) {
        argv[n++] = "--lab";
        if (node->control) {
            argv[n++] = "--control-only";
        }
    }
    argv[n] = NULL;
    int ret = lab_run(node->netns, argv, token, COMMAND_MS, &answer, err);
    ret = ret < 0 ? ret : take_prefix(net, node, &answer, err);
    sk_buf_release(&answer);
    return ret;
}

static int get_token(const struct lab_net *net, const struct lab_node *node, const char *skerry,
                     const struct lab_node *first, struct sk_buf *ret_token, struct sk_err *err)
{
    char data[LAB_PATH_MAX];
    lab_host_data(net, first, data);
    const char *argv[] = {skerry, "token", "--site", node->site, "--data", data, NULL, NULL, NULL};
    if (node->control) {
        argv[6] = "--role";
        argv[7] = "control";
    }
    return lab_run(NULL, argv, SK_STR(""), COMMAND_MS, ret_token, err);
}

/* The daemons' unprivileged halves must pass through the lab's folder to their own. */
static int open_folder(const struct lab_net *net, struct sk_err *err)
{
    char path[LAB_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/hosts", net->dir);
    int ret = sys_mkdirs(path, 0755, err);
    if (ret == 0 && chmod(net->dir, 0755) < 0) {
        ret = sk_err_errno(err, errno, "open '%s' to its daemons", net->dir);
    }
    return ret;
}

static bool is_set_up(const struct lab_net *net, const struct lab_node *node)
{
    char data[LAB_PATH_MAX], path[LAB_PATH_MAX + 32];
    lab_host_data(net, node, data);
    (void)snprintf(path, sizeof(path), "%s/identity", data);
    return access(path, F_OK) == 0;
}

int lab_host_up(const struct lab_net *net, struct sk_str name, const char *skerry,
                struct sk_err *err)
{
    const struct lab_node *node = lab_net_find(net, name);
    const struct lab_node *first = lab_hosts_first(net);
    struct sk_buf token = SK_BUF_INIT;
    if (node == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no host '%.*s' in this lab", SK_PRI(name));
    }
    if (node->bare) {
        return sk_err_set(err, SK_ERR_USAGE, "host '%s' is bare: no daemon runs on it", node->name);
    }
    int ret = open_folder(net, err);
    if (ret == 0 && !is_set_up(net, node)) {
        if (node != first && !is_set_up(net, first)) {
            (void)sk_err_set(err, SK_ERR_CONFLICT, "there is no cluster for host '%s' to join yet",
                             node->name);
            (void)sk_err_fix(err, "skerry-lab start %s", first->name);
            return SK_ERR_CONFLICT;
        }
        if (node != first) {
            ret = get_token(net, node, skerry, first, &token, err);
        }
        ret = ret < 0 ? ret
                      : set_up(net, node, skerry, node != first ? first : NULL, sk_buf_str(&token),
                               err);
        sk_buf_release(&token);
    }
    ret = ret < 0 ? ret : start_daemon(net, node, skerry, node == first, err);
    if (ret < 0) {
        (void)sk_err_wrap(err, "start host '%s'", node->name);
    }
    return ret;
}

/* How many nodes the cluster takes for alive; -1 if it does not say. */
static int count_alive(const struct lab_net *net, const char *skerry)
{
    char data[LAB_PATH_MAX];
    struct sk_buf out = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int count = -1;
    lab_host_data(net, lab_hosts_first(net), data);
    const char *const argv[] = {skerry, "nodes", "--json", "--data", data, NULL};
    if (lab_run(NULL, argv, SK_STR(""), COMMAND_MS, &out, NULL) == 0 &&
        sk_json_read(arena, "nodes", sk_buf_str(&out), NULL, &root, NULL) == 0) {
        const struct sk_node *nodes = sk_map_seq(root, "nodes");
        count = 0;
        for (uint32_t i = 0; nodes != NULL && i < nodes->count; i++) {
            struct sk_str state = sk_map_str(&nodes->u.items[i], "state", SK_STR(""));
            count += sk_str_is(state, "alive");
        }
    }
    sk_arena_free(arena);
    sk_buf_release(&out);
    return count;
}

int lab_hosts_up(const struct lab_net *net, const char *skerry, struct sk_err *err)
{
    sk_autofree struct lab_host_info *info = sk_xcalloc(net->nnodes, sizeof(*info));
    const struct lab_node *first = lab_hosts_first(net);
    int wanted = 0;
    if (first == NULL) {
        return sk_err_set(err, SK_ERR_USAGE, "all hosts of this lab are bare");
    }
    int ret = lab_hosts_look(net, info, err);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; ret == 0 && i < net->nnodes; i++) {
            const struct lab_node *node = &net->nodes[i];
            if (node->bare || (node == first) != (pass == 0)) {
                continue;
            }
            wanted++;
            if (!info[i].daemon) {
                ret = lab_host_up(net, sk_str(node->name), skerry, err);
            }
        }
    }
    for (int64_t end = sys_now_ms() + ALIVE_MS; ret == 0; nap(100)) {
        int alive = count_alive(net, skerry);
        if (alive >= wanted) {
            return 0;
        }
        if (sys_now_ms() > end) {
            ret = sk_err_set(err, SK_ERR_TIMEOUT, "%d of %d hosts are alive in the cluster",
                             alive < 0 ? 0 : alive, wanted);
        }
    }
    return ret;
}
