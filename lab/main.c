/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/demo.h"
#include "lab/load.h"
#include "lab/net.h"
#include "lab/wan.h"
#include "sys/file.h"

/*
 * skerry-lab: a WAN of network namespaces on one machine, and its users. The commands that change a
 * lab are thin: what they do stands in net.h, wan.h and load.h.
 */

static const char usage[] =
    "usage: skerry-lab COMMAND ...\n"
    "  up TOPOLOGY.json --dir DIR       make a lab (as root); '-' reads standard input\n"
    "      [--owner PID] [--no-gso]     clear it away once PID is dead; loss per packet\n"
    "  down --dir DIR                   take it down, also after a crash\n"
    "  clean                            take down every lab whose owner is dead\n"
    "  show --dir DIR                   its nodes, addresses and namespaces\n"
    "  exec --dir DIR NODE COMMAND ...  run a program in a node's network namespace\n"
    "  cut | heal --dir DIR SITE        all links of a site, silently; inside it all stays\n"
    "  cut | heal --dir DIR FROM TO     one direction\n"
    "  wire --dir DIR NODE up|down      the wire of one node\n"
    "  link --dir DIR FROM TO DELAY_MS [JITTER_MS [LOSS_PERCENT [MBIT]]]\n"
    "  load CONFIG.json                 users: an open-loop load generator; '-' reads standard "
    "input\n"
    "  demo [--kill SITE] [--stop] [--exit] [--json] [--seed N] [--seconds N] [--expect "
    "PLAN.json]\n"
    "                                   three sites, an app, users; a site dies (see skerry demo)\n"
    "  wan --device NAME --control SOCKET [--no-gso] [--seed N]\n"
    "                                   the delay router (started by up)\n";

struct flags {
    const char *dir, *device, *control, *kill, *expect;
    long owner, seed, seconds;
    bool no_gso, stop, exit, json;
    const char *rest[64]; /* positional arguments, NULL-terminated */
    size_t nrest;
};

static int fail(const struct sk_err *err)
{
    (void)fprintf(stderr, "skerry-lab: %s\n", err->msg);
    if (err->fix[0] != '\0') {
        (void)fprintf(stderr, "fix: %s\n", err->fix);
    }
    return sk_code_exit(err->code);
}

static int bad_usage(const char *what)
{
    (void)fprintf(stderr, "skerry-lab: %s\n%s", what, usage);
    return 2;
}

static bool take_number(const char *text, long *ret)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n < 0) {
        return false;
    }
    *ret = n;
    return true;
}

/* Flags may stand anywhere up to the command of `exec`, whose own flags are not ours. */
static bool parse(int argc, char **argv, bool stop_at_second, struct flags *f)
{
    for (int i = 2; i < argc; i++) {
        const char *a = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (stop_at_second && f->nrest >= 1) {
            while (i < argc && f->nrest < SK_ARRAY_LEN(f->rest) - 1) {
                f->rest[f->nrest++] = argv[i++];
            }
            return i >= argc;
        }
        if (strcmp(a, "--no-gso") == 0) {
            f->no_gso = true;
        } else if (strcmp(a, "--stop") == 0) {
            f->stop = true;
        } else if (strcmp(a, "--exit") == 0) {
            f->exit = true;
        } else if (strcmp(a, "--json") == 0) {
            f->json = true;
        } else if (strncmp(a, "--", 2) != 0) {
            if (f->nrest >= SK_ARRAY_LEN(f->rest) - 1) {
                return false;
            }
            f->rest[f->nrest++] = a;
        } else if (value == NULL) {
            return false;
        } else if (strcmp(a, "--dir") == 0) {
            f->dir = argv[++i];
        } else if (strcmp(a, "--device") == 0) {
            f->device = argv[++i];
        } else if (strcmp(a, "--control") == 0) {
            f->control = argv[++i];
        } else if (strcmp(a, "--kill") == 0) {
            f->kill = argv[++i];
        } else if (strcmp(a, "--expect") == 0) {
            f->expect = argv[++i];
        } else if (strcmp(a, "--seconds") == 0 && take_number(value, &f->seconds)) {
            i++;
        } else if (strcmp(a, "--owner") == 0 && take_number(value, &f->owner)) {
            i++;
        } else if (strcmp(a, "--seed") == 0 && take_number(value, &f->seed)) {
            i++;
        } else {
            return false;
        }
    }
    return true;
}

static int read_input(const char *path, struct sk_buf *out, struct sk_err *err)
{
    if (strcmp(path, "-") == 0) {
        return sys_fd_read(0, "standard input", 1 << 20, out, err);
    }
    return sys_file_read(path, 1 << 20, out, err);
}

static int run_up(const struct flags *f, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology;
    struct lab_net *net = NULL;
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int ret = n < 0 ? sk_err_errno(err, errno, "find this program") : 0;
    if (ret == 0) {
        self[n] = '\0';
        ret = read_input(f->rest[0], &text, err);
    }
    if (ret == 0) {
        ret = lab_topology_read(arena, f->rest[0], sk_buf_str(&text), &topology, err);
    }
    if (ret == 0) {
        struct lab_net_options options = {
            .dir = f->dir, .program = self, .owner = (pid_t)f->owner, .nogso = f->no_gso};
        ret = lab_net_up(&topology, &options, &net, err);
    }
    lab_net_free(net);
    sk_arena_free(arena);
    sk_buf_release(&text);
    return ret;
}

static void show(const struct lab_net *net)
{
    for (size_t i = 0; i < lab_net_count(net); i++) {
        const struct lab_node *node = lab_net_node(net, i);
        (void)printf("%-16s %-16s %-14s %-16s %s\n", node->name, node->site, node->address,
                     node->prefix, node->netns);
    }
}

/* Becomes the program; comes back only on failure. */
static int run_exec(const struct lab_net *net, const struct flags *f, struct sk_err *err)
{
    const struct lab_node *node = lab_net_find(net, sk_str(f->rest[0]));
    if (node == NULL) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no node '%s' in this lab", f->rest[0]);
    }
    int fd = open(node->netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
        return sk_err_errno(err, errno, "enter network namespace '%s'", node->netns);
    }
    char **args;
    const char *const *rest = f->rest + 1;
    memcpy(&args, &rest, sizeof(args)); /* exec's prototype predates const */
    (void)execvp(args[0], args);
    return sk_err_errno(err, errno, "start '%s'", args[0]);
}

static int run_link(const struct lab_net *net, const struct flags *f, struct sk_err *err)
{
    double values[4] = {0};
    for (size_t i = 2; i < f->nrest && i < 6; i++) {
        char *end;
        values[i - 2] = strtod(f->rest[i], &end);
        if (end == f->rest[i] || *end != '\0') {
            return sk_err_set(err, SK_ERR_USAGE, "'%s' is not a number", f->rest[i]);
        }
    }
    struct lab_direction d = {values[0], values[1], values[2], values[3]};
    return lab_net_set(net, sk_str(f->rest[0]), sk_str(f->rest[1]), &d, err);
}

/* Commands on a lab that runs. */
static int on_lab(const char *command, const struct flags *f, struct sk_err *err)
{
    struct lab_net *net = NULL;
    int ret = lab_net_open(f->dir, &net, err);
    if (ret < 0) {
        return ret;
    }
    struct sk_str a = sk_str(f->rest[0]);
    struct sk_str b = sk_str(f->nrest > 1 ? f->rest[1] : "");
    bool cut = strcmp(command, "cut") == 0;
    if (strcmp(command, "show") == 0) {
        show(net);
    } else if (strcmp(command, "exec") == 0 && f->nrest >= 2) {
        ret = run_exec(net, f, err);
    } else if ((cut || strcmp(command, "heal") == 0) && f->nrest == 1) {
        ret = cut ? lab_net_cut(net, a, err) : lab_net_heal(net, a, err);
    } else if ((cut || strcmp(command, "heal") == 0) && f->nrest == 2) {
        ret = lab_net_cut_one_way(net, a, b, cut, err);
    } else if (strcmp(command, "wire") == 0 && f->nrest == 2 &&
               (sk_str_is(b, "up") || sk_str_is(b, "down"))) {
        ret = lab_net_wire(net, a, sk_str_is(b, "up"), err);
    } else if (strcmp(command, "link") == 0 && f->nrest >= 3) {
        ret = run_link(net, f, err);
    } else {
        ret = sk_err_set(err, SK_ERR_USAGE, "'%s' lacks an argument: see skerry-lab help", command);
    }
    lab_net_free(net);
    return ret;
}

static int run_load(const struct flags *f, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    struct load_options options;
    struct load_stats *stats = sk_xcalloc(1, sizeof(*stats));
    int ret = read_input(f->rest[0], &text, err);
    if (ret == 0) {
        ret = load_options_read(arena, f->rest[0], sk_buf_str(&text), &options, err);
    }
    if (ret == 0) {
        ret = load_run(&options, stdout, stats, err);
    }
    free(stats);
    sk_arena_free(arena);
    sk_buf_release(&text);
    return ret;
}

static int run_wan(const struct flags *f, struct sk_err *err)
{
    struct lab_wan_options options = {
        .device = f->device,
        .control_path = f->control,
        .gso = !f->no_gso,
        .seed = (uint64_t)f->seed,
    };
    return lab_wan_run(&options, err);
}

/* The first of these paths, from this program's own folder, that exists. */
static bool find_beside(const char *const *tails, char *out, size_t size)
{
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    for (size_t i = 0; tails[i] != NULL; i++) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%s", self, tails[i]);
        sk_autofree char *real = realpath(path, NULL);
        if (real != NULL && strlen(real) < size) {
            memcpy(out, real, strlen(real) + 1);
            return true;
        }
    }
    return false;
}

/* Beside an installed program, or in a build folder within the sources. */
static int run_demo(const struct flags *f, int *ret_status, struct sk_err *err)
{
    static const char *const skerry[] = {"skerry", "../../bin/skerry", NULL};
    static const char *const own[] = {"skerry-lab", NULL};
    static const char *const shop[] = {"../examples/shop", "../../share/skerry/examples/shop",
                                       NULL};
    char skerry_path[512], own_path[512], shop_path[512];
    bool agrees = false;
    if (!find_beside(skerry, skerry_path, sizeof(skerry_path)) ||
        !find_beside(own, own_path, sizeof(own_path)) ||
        !find_beside(shop, shop_path, sizeof(shop_path))) {
        return sk_err_set(err, SK_ERR_NOT_FOUND,
                          "the demo's parts (skerry, examples/shop) are not beside this program");
    }
    const struct demo_options options = {
        .skerry = skerry_path,
        .lab_program = own_path,
        .examples = shop_path,
        .kill = f->kill,
        .stop = f->stop,
        .exit = f->exit || f->json,
        .json = f->json,
        .seed = (uint64_t)f->seed,
        .seconds = (double)f->seconds,
        .expect = f->expect,
    };
    int r = demo_run(&options, &agrees, err);
    *ret_status = agrees ? 0 : 1;
    return r;
}

/* ip, nft and the like stand in folders that a user's PATH, and root's after a plain su, lacks. */
static void search_sbin(void)
{
    const char *path = getenv("PATH");
    char longer[4096];
    int n = snprintf(longer, sizeof(longer), "%s%s/usr/local/sbin:/usr/sbin:/sbin",
                     path != NULL ? path : "/usr/bin:/bin", path != NULL && !path[0] ? "" : ":");
    if (n < (int)sizeof(longer)) {
        (void)setenv("PATH", longer, 1);
    }
}

int main(int argc, char **argv)
{
    search_sbin();
    struct flags f = {0};
    struct sk_err err = {0};
    const char *command = argc > 1 ? argv[1] : "help";
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (!parse(argc, argv, strcmp(command, "exec") == 0, &f)) {
        return bad_usage("wrong flags");
    }
    int ret;
    int status = 0;
    if (strcmp(command, "demo") == 0 && f.nrest == 0) {
        ret = run_demo(&f, &status, &err);
    } else if (strcmp(command, "wan") == 0 && f.device != NULL && f.control != NULL) {
        ret = run_wan(&f, &err);
    } else if (strcmp(command, "load") == 0 && f.nrest == 1) {
        ret = run_load(&f, &err);
    } else if (strcmp(command, "clean") == 0) {
        int n = lab_net_clean(&err);
        ret = n < 0 ? n : 0;
    } else if (f.dir == NULL) {
        return bad_usage("--dir DIR or an argument is missing, or the command is unknown");
    } else if (strcmp(command, "up") == 0 && f.nrest == 1) {
        ret = run_up(&f, &err);
    } else if (strcmp(command, "down") == 0) {
        ret = lab_net_down(f.dir, &err);
    } else {
        ret = on_lab(command, &f, &err);
    }
    return ret < 0 ? fail(&err) : status;
}
