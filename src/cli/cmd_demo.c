/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/commands.h"

/* The demo itself is skerry-lab's: an observer that shares no process with what it observes. */

static const struct cli_option options[] = {
    {"kill", "SITE", "the site to lose (default fra)", false},
    {"stop", NULL, "its processes hang (SIGSTOP) instead of dying", false},
    {"exit", NULL, "end after the closing table instead of staying up", false},
    {"seed", "N", "of the users, for the same requests again (default 0)", false},
    {"seconds", "N", "watch for so long after the site is lost (default 15)", false},
    {"expect", "FILE", "hold this plan's prediction against what happens, not the cluster's own",
     false},
};

/* Beside this program in a build folder, in libexec when installed. */
static bool find_lab(char *out, size_t size)
{
    static const char *const places[] = {"skerry-lab", "../libexec/skerry/skerry-lab"};
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');

    if (!slash) {
        return false;
    }
    *slash = '\0';
    for (size_t i = 0; i < SK_ARRAY_LEN(places); i++) {
        int len = snprintf(out, size, "%s/%s", self, places[i]);
        if (len > 0 && (size_t)len < size && access(out, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static int run_demo(struct cli *cli, struct sk_err *err)
{
    static const char *const flags[] = {"stop", "exit"};
    static const char *const values[] = {"kill", "seed", "seconds", "expect"};
    char program[640];
    char names[6][16];
    const char *argv[16];
    size_t n = 0;
    size_t named = 0;

    if (!find_lab(program, sizeof(program))) {
        (void)sk_err_set(err, SK_ERR_NOT_FOUND,
                         "skerry-lab, which runs the demo, is not installed");
        return sk_err_fix(err, "install the whole package, or run it from a build folder");
    }
    argv[n++] = program;
    argv[n++] = "demo";
    for (size_t i = 0; i < SK_ARRAY_LEN(flags); i++) {
        if (cli_flag(cli, flags[i])) {
            (void)snprintf(names[named], sizeof(names[0]), "--%s", flags[i]);
            argv[n++] = names[named++];
        }
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(values); i++) {
        if (cli_value(cli, values[i])) {
            (void)snprintf(names[named], sizeof(names[0]), "--%s", values[i]);
            argv[n++] = names[named++];
            argv[n++] = cli_value(cli, values[i]);
        }
    }
    if (cli->json) {
        argv[n++] = "--json";
    }
    argv[n] = NULL;
    char *const *args;
    const char *const *from = argv;
    memcpy(&args, &from, sizeof(args)); /* exec's prototype predates const */
    (void)execv(program, args);
    return sk_err_errno(err, errno, "start '%s'", program);
}

const struct cli_command cmd_demo = {
    .name = "demo",
    .group = "Plan",
    .args = "",
    .summary = "see it on this machine: three sites, an app, a site dies",
    .text = "Three sites and a control node, real servers and an app with users, all on this "
            "machine. Then "
            "one site's links go down\n"
            "silently and its processes die; what the plan predicted stands beside what users saw. "
            "As root "
            "sites are network\n"
            "namespaces with real delays and the app runs in containers; otherwise they are "
            "addresses of "
            "loopback and it runs as\n"
            "programs. It leaves nothing behind.",
    .examples = "  skerry demo\n  skerry demo --kill ams --stop\n  skerry demo --exit --json\n",
    .options = options,
    .noptions = SK_ARRAY_LEN(options),
    .run = run_demo,
};
