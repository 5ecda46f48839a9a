/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "lab/host.h"
#include "lab/hosts.h"

/* ---- show ---- */

static bool is_listed(const struct sk_buf *cuts, const char *prefix, unsigned number)
{
    char quoted[24];
    (void)snprintf(quoted, sizeof(quoted), "\"%s%u\"", prefix, number);
    return cuts->ptr != NULL && strstr(cuts->ptr, quoted) != NULL;
}

struct picture {
    struct lab_host_info *hosts;
    struct lab_pair *pairs;
    size_t npairs;
    struct sk_buf cuts;
};

static int look(const struct lab_net *net, struct picture *p, struct sk_err *err)
{
    p->hosts = sk_xcalloc(lab_net_count(net) + 1, sizeof(*p->hosts));
    int ret = lab_hosts_look(net, p->hosts, err);
    ret = ret < 0 ? ret : lab_net_pairs(net, &p->pairs, &p->npairs, err);
    return ret < 0 ? ret : lab_net_cuts(net, &p->cuts, err);
}

static void host_json(struct sk_jw *w, const struct lab_net *net, const struct lab_node *node,
                      const struct picture *p)
{
    const struct lab_host_info *info = &p->hosts[node->number - 1];
    char data[LAB_PATH_MAX], log[LAB_PATH_MAX];
    lab_host_data(net, node, data);
    lab_host_log(net, node, log);
    sk_jw_obj(w);
    sk_jw_kcstr(w, "name", node->name);
    sk_jw_kcstr(w, "site", node->site);
    sk_jw_kcstr(w, "address", node->address);
    sk_jw_kcstr(w, "prefix", node->prefix);
    sk_jw_kcstr(w, "netns", node->netns);
    sk_jw_kbool(w, "control", node->control);
    sk_jw_kbool(w, "bare", node->bare);
    sk_jw_kcstr(w, "data", data);
    sk_jw_kcstr(w, "log", log);
    sk_jw_kcstr(w, "power", lab_power_name(info->power));
    sk_jw_kbool(w, "daemon", info->daemon);
    sk_jw_kint(w, "pid", info->pid);
    sk_jw_kint(w, "processes", info->processes);
    sk_jw_kint(w, "slow_ms", info->slow_ms);
    sk_jw_kbool(w, "cut", is_listed(&p->cuts, "v", node->number));
    if (info->has_disk) {
        sk_jw_key(w, "disk");
        sk_jw_obj(w);
        sk_jw_kint(w, "bytes", info->disk_bytes);
        sk_jw_kint(w, "free", info->disk_free);
        sk_jw_obj_end(w);
    }
    sk_jw_obj_end(w);
}

static void links_json(struct sk_jw *w, const struct picture *p)
{
    sk_jw_key(w, "links");
    sk_jw_arr(w);
    for (size_t i = 0; i < p->npairs; i++) {
        const struct lab_pair *pair = &p->pairs[i];
        sk_jw_obj(w);
        sk_jw_kcstr(w, "from", pair->from);
        sk_jw_kcstr(w, "to", pair->to);
        sk_jw_knum(w, "delay_ms", pair->now.delay_ms);
        sk_jw_knum(w, "jitter_ms", pair->now.jitter_ms);
        sk_jw_knum(w, "loss", pair->now.loss_percent);
        sk_jw_knum(w, "rate", pair->now.mbit);
        sk_jw_kbool(w, "cut", pair->cut);
        sk_jw_obj_end(w);
    }
    sk_jw_arr_end(w);
}

static void show_json(const struct lab_net *net, const struct picture *p)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.lab.show/1");
    sk_jw_kcstr(&w, "id", lab_net_id(net));
    sk_jw_kcstr(&w, "dir", lab_net_dir(net));
    sk_jw_key(&w, "sites");
    sk_jw_arr(&w);
    for (size_t i = 0; i < lab_net_sites(net); i++) {
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "name", lab_net_site(net, i));
        sk_jw_kbool(&w, "cut", is_listed(&p->cuts, "br", (unsigned)i + 1));
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "hosts");
    sk_jw_arr(&w);
    for (size_t i = 0; i < lab_net_count(net); i++) {
        host_json(&w, net, lab_net_node(net, i), p);
    }
    sk_jw_arr_end(&w);
    links_json(&w, p);
    sk_jw_obj_end(&w);
    (void)printf("%s\n", out.ptr);
    sk_buf_release(&out);
}

static void show_host(const struct lab_node *node, const struct picture *p)
{
    const struct lab_host_info *info = &p->hosts[node->number - 1];
    char disk[64] = "-";
    if (info->has_disk) {
        struct sk_buf size = SK_BUF_INIT;
        struct sk_buf left = SK_BUF_INIT;
        sk_format_bytes(&size, info->disk_bytes);
        sk_format_bytes(&left, info->disk_free & ~((1LL << 20) - 1));
        (void)snprintf(disk, sizeof(disk), "%s of %s free", left.ptr, size.ptr);
        sk_buf_release(&size);
        sk_buf_release(&left);
    }
    const char *what = node->bare                                ? "bare"
                       : info->power != LAB_OFF && !info->daemon ? "no daemon"
                                                                 : lab_power_name(info->power);
    (void)printf("%-16s %-12s %-12s %-15s %-28s %-9s %9u %5u ms  %s%s\n", node->name, node->site,
                 node->address, node->prefix, node->netns, what, info->processes, info->slow_ms,
                 disk, is_listed(&p->cuts, "v", node->number) ? "  CUT" : "");
}

static void show_table(const struct lab_net *net, const struct picture *p)
{
    (void)printf("lab %s in %s\n\n%-16s %-12s %-12s %-15s %-28s %-9s %9s %8s  %s\n",
                 lab_net_id(net), lab_net_dir(net), "HOST", "SITE", "ADDRESS", "PREFIX", "NETNS",
                 "STATE", "PROCESSES", "SLOW", "DISK");
    for (size_t i = 0; i < lab_net_count(net); i++) {
        show_host(lab_net_node(net, i), p);
    }
    (void)printf("\n%-12s    %-12s %10s %10s %8s %10s\n", "FROM", "TO", "DELAY ms", "JITTER ms",
                 "LOSS %", "RATE Mbit");
    for (size_t i = 0; i < p->npairs; i++) {
        const struct lab_pair *pair = &p->pairs[i];
        (void)printf("%-12s -> %-12s %10.2f %10.2f %8.2f %10.6g%s\n", pair->from, pair->to,
                     pair->now.delay_ms, pair->now.jitter_ms, pair->now.loss_percent,
                     pair->now.mbit, pair->cut ? "  CUT" : "");
    }
    for (size_t i = 0; i < lab_net_sites(net); i++) {
        if (is_listed(&p->cuts, "br", (unsigned)i + 1)) {
            (void)printf("site %s is CUT off\n", lab_net_site(net, i));
        }
    }
}

static int do_show(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    struct picture p = {0};
    int ret = look(net, &p, err);
    if (ret == 0 && w->json) {
        show_json(net, &p);
    } else if (ret == 0) {
        show_table(net, &p);
    }
    free(p.hosts);
    free(p.pairs);
    sk_buf_release(&p.cuts);
    return ret;
}

/* ---- the network ---- */

static int cut_or_heal(const struct lab_net *net, const struct lab_words *w, bool cut,
                       struct sk_err *err)
{
    struct sk_str a = sk_str(w->count > 0 ? w->word[0] : "");
    struct sk_str b = sk_str(w->count > 1 ? w->word[1] : "");
    if (w->count == 0 && !cut) {
        return lab_net_heal_all(net, err);
    }
    if (w->count == 2) {
        int ret = lab_net_cut_one_way(net, a, b, cut, err);
        return ret < 0 || w->one_way ? ret : lab_net_cut_one_way(net, b, a, cut, err);
    }
    if (w->one_way) {
        return sk_err_set(err, SK_ERR_USAGE, "--one-way needs two sites: from, to");
    }
    if (lab_net_has_site(net, a)) {
        return cut ? lab_net_cut(net, a, err) : lab_net_heal(net, a, err);
    }
    if (lab_net_find(net, a) == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no site or host '%.*s' in this lab", SK_PRI(a));
    }
    return lab_net_cut_node(net, a, cut, err);
}

static int do_cut(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return cut_or_heal(net, w, true, err);
}

static int do_heal(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return cut_or_heal(net, w, false, err);
}

static int do_wire(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    bool up = strcmp(w->word[1], "up") == 0;
    if (!up && strcmp(w->word[1], "down") != 0) {
        return sk_err_set(err, SK_ERR_USAGE, "a wire is 'up' or 'down', not '%s'", w->word[1]);
    }
    return lab_net_wire(net, sk_str(w->word[0]), up, err);
}

static int take_number(const char *text, double max, double *ret, struct sk_err *err)
{
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end != '\0' || !(n >= 0) || n > max) {
        return sk_err_set(err, SK_ERR_USAGE, "'%s' is not a number from 0 to %g", text, max);
    }
    *ret = n;
    return 0;
}

/* KEY=VALUE ... */
static int take_values(const struct lab_words *w, struct lab_direction *ret, struct sk_err *err)
{
    struct lab_direction d = {-1, -1, -1, -1};
    const struct {
        const char *name;
        double max, times;
        double *into;
    } keys[] = {{"rtt_ms", 10000, 0.5, &d.delay_ms}, /* half each way */
                {"delay_ms", 10000, 1, &d.delay_ms},
                {"jitter_ms", 10000, 0.5, &d.jitter_ms},
                {"loss", 100, 1, &d.loss_percent},
                {"rate", 1e6, 1, &d.mbit}};
    for (size_t i = 2; i < w->count; i++) {
        struct sk_str key, value;
        size_t k = 0;
        (void)sk_str_cut(sk_str(w->word[i]), '=', &key, &value);
        while (k < SK_ARRAY_LEN(keys) && !sk_str_is(key, keys[k].name)) {
            k++;
        }
        if (k == SK_ARRAY_LEN(keys)) {
            return sk_err_set(err, SK_ERR_USAGE,
                              "'%.*s' is none of rtt_ms, delay_ms, jitter_ms, loss, rate",
                              SK_PRI(key));
        }
        int ret_number =
            take_number(value.ptr != NULL ? value.ptr : "", keys[k].max, keys[k].into, err);
        if (ret_number < 0) {
            (void)sk_err_wrap(err, "%s", keys[k].name);
            return ret_number;
        }
        *keys[k].into *= keys[k].times;
    }
    *ret = d;
    return 0;
}

static int do_link(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    struct lab_direction d = {0};
    struct sk_str a = sk_str(w->word[0]);
    struct sk_str b = sk_str(w->word[1]);
    bool one_way = w->one_way;
    int ret = 0;
    if (strchr(w->word[2], '=') != NULL) {
        ret = take_values(w, &d, err);
    } else { /* DELAY_MS [JITTER_MS [LOSS [MBIT]]], one direction: all four are set */
        double *into[] = {&d.delay_ms, &d.jitter_ms, &d.loss_percent, &d.mbit};
        one_way = true;
        for (size_t i = 2; ret == 0 && i < w->count && i < 6; i++) {
            ret = take_number(w->word[i], 1e6, into[i - 2], err);
        }
    }
    ret = ret < 0 ? ret : lab_net_set(net, a, b, &d, err);
    return ret < 0 || one_way ? ret : lab_net_set(net, b, a, &d, err);
}

/* ---- the hosts ---- */

static int do_kill(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return lab_host_kill(net, sk_str(w->word[0]), err);
}

static int do_pause(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return lab_host_pause(net, sk_str(w->word[0]), true, err);
}

static int do_resume(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return lab_host_pause(net, sk_str(w->word[0]), false, err);
}

static int do_slow_disk(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    double ms = 0;
    int ret = take_number(w->word[1], LAB_SLOW_MS_MAX, &ms, err);
    return ret < 0 ? ret : lab_host_slow(net, sk_str(w->word[0]), (unsigned)ms, err);
}

static int do_fill_disk(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return lab_host_fill(net, sk_str(w->word[0]), true, err);
}

static int do_free_disk(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    return lab_host_fill(net, sk_str(w->word[0]), false, err);
}

static int do_start(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    int ret = w->count == 0 ? lab_hosts_up(net, w->skerry, err) : 0;
    for (size_t i = 0; ret == 0 && i < w->count; i++) {
        ret = lab_host_up(net, sk_str(w->word[i]), w->skerry, err);
    }
    return ret;
}

/* Becomes the program; comes back only on failure. In the host's network: the rest is the
 * machine's, so that its pid, its files and its signals are the caller's too. */
static int do_exec(const struct lab_net *net, const struct lab_words *w, struct sk_err *err)
{
    const struct lab_node *node = lab_net_find(net, sk_str(w->word[0]));
    const char *const *argv = w->word + 1;
    char data[LAB_PATH_MAX];
    if (node == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no host '%s' in this lab", w->word[0]);
    }
    argv += strcmp(argv[0], "--") == 0;
    if (argv[0] == NULL) {
        return sk_err_set(err, SK_ERR_USAGE, "'exec' lacks a command");
    }
    lab_host_data(net, node, data);
    if (access(data, F_OK) == 0) {
        (void)setenv("SKERRY_DATA", data, 1); /* `skerry` means the one of this host */
    }
    int fd = open(node->netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
        return sk_err_errno(err, errno, "enter network namespace '%s'", node->netns);
    }
    char **args;
    memcpy(&args, &argv, sizeof(args)); /* exec's prototype predates const */
    (void)execvp(args[0], args);
    int code = errno;
    if (strcmp(args[0], "skerry") == 0 && code == ENOENT) {
        (void)execv(w->skerry, args);
    }
    return sk_err_errno(err, code, "start '%s'", args[0]);
}

/* ---- all of them ---- */

static const struct verb {
    const char *name;
    size_t min, max;
    int (*run)(const struct lab_net *net, const struct lab_words *w, struct sk_err *err);
} verbs[] = {
    {"show", 0, 0, do_show},
    {"exec", 2, SIZE_MAX, do_exec},
    {"cut", 1, 2, do_cut},
    {"heal", 0, 2, do_heal},
    {"wire", 2, 2, do_wire},
    {"link", 3, 7, do_link},
    {"start", 0, SIZE_MAX, do_start},
    {"kill", 1, 1, do_kill},
    {"pause", 1, 1, do_pause},
    {"resume", 1, 1, do_resume},
    {"slow-disk", 2, 2, do_slow_disk},
    {"fill-disk", 1, 1, do_fill_disk},
    {"free-disk", 1, 1, do_free_disk},
};

int lab_verb(const struct lab_net *net, const char *command, const struct lab_words *words,
             struct sk_err *err)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(verbs); i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->name, command) != 0) {
            continue;
        }
        if (words->count < v->min || words->count > v->max) {
            return sk_err_set(err, SK_ERR_USAGE, "'%s' takes %s: see skerry-lab help", command,
                              words->count < v->min ? "more than that" : "less than that");
        }
        return v->run(net, words, err);
    }
    return sk_err_set(err, SK_ERR_USAGE, "'%s' is no command: see skerry-lab help", command);
}

bool lab_verb_exists(const char *command)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, command) == 0) {
            return true;
        }
    }
    return false;
}
