/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/demo.h"
#include "lab/keep.h"
#include "lab/load.h"
#include "lab/net.h"
#include "lab/verbs.h"
#include "lab/wan.h"
#include "sys/file.h"

/*
 * skerry-lab: a WAN of network namespaces on one machine, and its users. The commands that change a
 * lab are thin: what they do stands in net.h, wan.h and load.h.
 */

static const char usage[] =
    "usage: skerry-lab COMMAND ...\n"
    "  up TOPOLOGY.yaml                 make a lab (as root), YAML or JSON; '-' reads standard "
    "input;\n"
    "                                   prints its folder (docs/lab.md describes the file)\n"
    "      [--dir DIR]                  in this folder (default: a new one in /tmp)\n"
    "      [--owner PID]                take it down at once when that process ends\n"
    "      [--no-gso]                   loss per packet, not per burst\n"
    "  down                             take it down, also after a crash\n"
    "  down --all-stale                 every lab whose owner or keeper is dead (also: clean)\n"
    "  show [--json]                    its hosts, links and what is cut\n"
    "  start [HOST ...] [--skerry PATH] skerry daemon on these hosts, or all: init on the first, "
    "join\n"
    "                                   on the others; what was killed comes up again\n"
    "  exec HOST -- COMMAND ...         run a program in a host's network\n"
    "  cut | heal SITE                  all links of a site, silently; inside it all stays\n"
    "  cut | heal HOST                  all links of a host\n"
    "  cut | heal SITE SITE [--one-way] one link, or only its way from the first to the second\n"
    "  heal                             all that was cut\n"
    "  link SITE SITE KEY=VALUE ...     rtt_ms, jitter_ms (half each way), loss (%), rate "
    "(Mbit/s)\n"
    "      [--one-way]                  from the first to the second only; also delay_ms\n"
    "  link FROM TO DELAY_MS [JITTER_MS [LOSS [MBIT]]]   one way, all four\n"
    "  kill HOST                        every process of it, at once; its disk stays\n"
    "  pause | resume HOST              every process of it stands still, and goes on\n"
    "  slow-disk HOST MS                each flush to its disk takes MS longer; 0 = no more\n"
    "  fill-disk | free-disk HOST       not a byte is free on its disk, and again\n"
    "  wire HOST up|down                its cable: the carrier goes too\n"
    "  Without --dir DIR these mean the one lab that runs.\n"
    "  load CONFIG.json                 users: an open-loop load generator; '-' reads standard "
    "input\n"
    "  demo [--kill SITE] [--stop] [--exit] [--json] [--seed N] [--seconds N] [--expect "
    "PLAN.json]\n"
    "                                   three sites, an app, users; a site dies (see skerry demo)\n"
    "  wan | keep                       the delay router and the keeper, started by up\n";

struct flags {
    const char *dir, *device, *control, *kill, *expect, *skerry;
    long owner, seed, seconds;
    bool no_gso, stop, exit, json, one_way, all_stale;
    const char *rest[64]; /* positional arguments, NULL-terminated */
    size_t nrest;
};

static int fail(const struct sk_err *err)
{
    (void)fprintf(stderr, "skerry-lab: %s\n", err->msg);
    if (err->fix[0] != '\0') {
        (void)fprintf(stderr, "fix: %s\n", err->fix);
    }
    /* a name that is none of this lab's is bad input here */
    return err->code == SK_ERR_NOT_FOUND ? 2 : sk_code_exit(err->code);
}

static int bad_usage(const char *what)
{
    (void)fprintf(stderr, "skerry-lab: %s: see skerry-lab help\n", what);
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
        } else if (strcmp(a, "--one-way") == 0) {
            f->one_way = true;
        } else if (strcmp(a, "--all-stale") == 0) {
            f->all_stale = true;
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
        } else if (strcmp(a, "--skerry") == 0) {
            f->skerry = argv[++i];
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

static int find_self(char out[512], struct sk_err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, 511);
    if (n < 0) {
        return sk_err_errno(err, errno, "find this program");
    }
    out[n] = '\0';
    return 0;
}

static int run_up(const struct flags *f, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology = {0};
    struct lab_net *net = NULL;
    char self[512], made[] = "/tmp/skerry-lab-XXXXXX";
    int ret = find_self(self, err);
    ret = ret < 0 ? ret : read_input(f->rest[0], &text, err);
    if (ret == 0) {
        ret = lab_topology_read(arena, f->rest[0], sk_buf_str(&text), &topology, err);
    }
    if (ret == 0 && f->dir == NULL && mkdtemp(made) == NULL) {
        ret = sk_err_errno(err, errno, "make a folder in '/tmp'");
    }
    if (ret == 0) {
        struct lab_net_options options = {.dir = f->dir != NULL ? f->dir : made,
                                          .program = self,
                                          .owner = (pid_t)f->owner,
                                          .nogso = f->no_gso || topology.nogso,
                                          .own_dir = f->dir == NULL};
        ret = lab_net_up(&topology, &options, &net, err);
    }
    if (ret == 0) {
        (void)printf("%s\n", lab_net_dir(net));
    }
    lab_net_free(net);
    sk_arena_free(arena);
    sk_buf_release(&text);
    return ret;
}

static int run_keep(const struct flags *f, struct sk_err *err)
{
    char self[512];
    int ret = find_self(self, err);
    return ret < 0 ? ret : lab_keep_run(f->dir, self, f->no_gso, err);
}

static int the_dir(const struct flags *f, char ret_dir[LAB_DIR_MAX], struct sk_err *err)
{
    if (f->dir == NULL) {
        return lab_net_only(ret_dir, err);
    }
    if (strlen(f->dir) >= LAB_DIR_MAX) {
        return sk_err_set(err, SK_ERR_USAGE, "the folder's path is longer than %d bytes",
                          LAB_DIR_MAX - 1);
    }
    memcpy(ret_dir, f->dir, strlen(f->dir) + 1);
    return 0;
}

static int run_down(const struct flags *f, struct sk_err *err)
{
    char dir[LAB_DIR_MAX];
    if (f->all_stale) {
        int n = lab_net_clean(err);
        return n < 0 ? n : 0;
    }
    int ret = the_dir(f, dir, err);
    return ret < 0 ? ret : lab_net_down(dir, err);
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

static int run_verb(const char *command, const struct flags *f, struct sk_err *err)
{
    static const char *const beside[] = {"skerry", "../../bin/skerry", NULL};
    char dir[LAB_DIR_MAX], skerry[512] = "skerry", real[PATH_MAX];
    struct lab_net *net = NULL;
    int ret = the_dir(f, dir, err);
    if (ret == 0 && f->skerry != NULL) {
        if (realpath(f->skerry, real) == NULL || strlen(real) >= sizeof(skerry)) {
            return sk_err_set(err, SK_ERR_USAGE, "there is no program '%s'", f->skerry);
        }
        memcpy(skerry, real, strlen(real) + 1);
    } else if (ret == 0) {
        (void)find_beside(beside, skerry, sizeof(skerry)); /* else by PATH */
    }
    ret = ret < 0 ? ret : lab_net_open(dir, &net, err);
    if (ret == SK_ERR_NOT_FOUND) {
        return sk_err_set(err, SK_ERR_USAGE, "there is no lab in '%s'", dir);
    }
    const struct lab_words words = {.word = f->rest,
                                    .count = f->nrest,
                                    .one_way = f->one_way,
                                    .json = f->json,
                                    .skerry = skerry};
    ret = ret < 0 ? ret : lab_verb(net, command, &words, err);
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

/* What needs root says so in one line, and exits as a test that is skipped. */
static bool needs_root(const char *command)
{
    return strcmp(command, "up") == 0 || strcmp(command, "down") == 0 ||
           strcmp(command, "clean") == 0 || strcmp(command, "keep") == 0 ||
           lab_verb_exists(command);
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
    if (geteuid() != 0 && needs_root(command)) {
        (void)fprintf(stderr, "skerry-lab: a lab is made of network namespaces, which need root\n");
        return 77;
    }
    int ret;
    int status = 0;
    if (strcmp(command, "demo") == 0 && f.nrest == 0) {
        ret = run_demo(&f, &status, &err);
    } else if (strcmp(command, "wan") == 0 && f.device != NULL && f.control != NULL) {
        ret = run_wan(&f, &err);
    } else if (strcmp(command, "keep") == 0 && f.dir != NULL) {
        ret = run_keep(&f, &err);
    } else if (strcmp(command, "load") == 0 && f.nrest == 1) {
        ret = run_load(&f, &err);
    } else if (strcmp(command, "clean") == 0) {
        int n = lab_net_clean(&err);
        ret = n < 0 ? n : 0;
    } else if (strcmp(command, "up") == 0 && f.nrest == 1) {
        ret = run_up(&f, &err);
    } else if (strcmp(command, "down") == 0 && f.nrest == 0) {
        ret = run_down(&f, &err);
    } else if (lab_verb_exists(command)) {
        ret = run_verb(command, &f, &err);
    } else {
        (void)fprintf(stderr,
                      "skerry-lab: '%s' is no command, or lacks an argument: see skerry-lab "
                      "help\n",
                      command);
        return 2;
    }
    return ret < 0 ? fail(&err) : status;
}
