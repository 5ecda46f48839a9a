/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int shim_fail(struct shim_reason *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(reason->text, sizeof(reason->text), fmt, ap);
    va_end(ap);
    return -1;
}

int shim_fail_errno(struct shim_reason *reason, const char *fmt, ...)
{
    int errnum = errno;
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    (void)vsnprintf(reason->text, sizeof(reason->text), fmt, ap);
    va_end(ap);
    len = strlen(reason->text);
    (void)snprintf(reason->text + len, sizeof(reason->text) - len, ": %s", strerrordesc_np(errnum));
    return -1;
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec ts;
    (void)clock_gettime(clock, &ts); /* cannot fail for these clocks */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t shim_now_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

int64_t shim_realtime_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

static int parse_number(const char *name, const char *text, long min, long max, long *ret,
                        struct shim_reason *reason)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max) {
        return shim_fail(reason, "'--%s' must be a number from %ld to %ld", name, min, max);
    }
    *ret = n;
    return 0;
}

/* "GID,GID": the supplementary groups */
static int parse_groups(char *text, struct shim_config *config, struct shim_reason *reason)
{
    char *save = NULL;

    for (char *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        long gid;
        if (config->ngroups == SHIM_GROUPS_MAX) {
            return shim_fail(reason, "'--groups' names more than %d groups", SHIM_GROUPS_MAX);
        }
        if (parse_number("groups", one, 0, INT_MAX, &gid, reason) < 0) {
            return -1;
        }
        config->groups[config->ngroups++] = (gid_t)gid;
    }
    return 0;
}

enum {
    OPT_DIR = 256,
    OPT_ID,
    OPT_RUN,
    OPT_LOG_BYTES,
    OPT_LOG_FILES,
    OPT_CWD,
    OPT_UID,
    OPT_GID,
    OPT_GROUPS,
    OPT_CGROUP,
    OPT_LEASE_UNTIL,
    OPT_OOM_FILE,
    OPT_OVERLAY,
    OPT_HYBRID,
    OPT_BRIDGE,
    OPT_VETH,
    OPT_ADDRESS,
    OPT_GATEWAY,
    OPT_RUNTIME_PID,
    OPT_RUNTIME_LOG,
};

static const struct option options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"id", required_argument, NULL, OPT_ID},
    {"run", required_argument, NULL, OPT_RUN},
    {"log-bytes", required_argument, NULL, OPT_LOG_BYTES},
    {"log-files", required_argument, NULL, OPT_LOG_FILES},
    {"cwd", required_argument, NULL, OPT_CWD},
    {"uid", required_argument, NULL, OPT_UID},
    {"gid", required_argument, NULL, OPT_GID},
    {"groups", required_argument, NULL, OPT_GROUPS},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"lease-until", required_argument, NULL, OPT_LEASE_UNTIL},
    {"oom-file", required_argument, NULL, OPT_OOM_FILE},
    {"overlay", required_argument, NULL, OPT_OVERLAY},
    {"hybrid-cgroup", no_argument, NULL, OPT_HYBRID},
    {"bridge", required_argument, NULL, OPT_BRIDGE},
    {"veth", required_argument, NULL, OPT_VETH},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"gateway", required_argument, NULL, OPT_GATEWAY},
    {"runtime-pid", required_argument, NULL, OPT_RUNTIME_PID},
    {"runtime-log", required_argument, NULL, OPT_RUNTIME_LOG},
    {NULL, 0, NULL, 0},
};

static int take_number_option(int opt, char *arg, struct shim_config *c, struct shim_reason *reason)
{
    long n = 0;
    int rc = 0;

    if (opt == OPT_RUN) {
        rc = parse_number("run", arg, 1, INT_MAX, &c->run, reason);
    } else if (opt == OPT_LOG_BYTES) {
        rc = parse_number("log-bytes", arg, 4096, INT_MAX, &c->log_bytes_max, reason);
    } else if (opt == OPT_LOG_FILES) {
        rc = parse_number("log-files", arg, 1, 100, &c->log_files_max, reason);
    } else if (opt == OPT_UID) {
        rc = parse_number("uid", arg, 0, INT_MAX, &n, reason);
        c->uid = (uid_t)n;
        c->has_user = true;
    } else if (opt == OPT_LEASE_UNTIL) {
        rc = parse_number("lease-until", arg, 1, LONG_MAX, &n, reason);
        c->lease_until_ms = n;
    } else if (opt == OPT_GID) {
        rc = parse_number("gid", arg, 0, INT_MAX, &n, reason);
        c->gid = (gid_t)n;
    } else {
        rc = parse_groups(arg, c, reason);
    }
    return rc;
}

static int take_option(int opt, char *arg, struct shim_config *c, struct shim_reason *reason)
{
    switch (opt) {
    case OPT_DIR:
        c->dir = arg;
        return 0;
    case OPT_ID:
        c->id = arg;
        return 0;
    case OPT_CWD:
        c->cwd = arg;
        return 0;
    case OPT_CGROUP:
        if (c->ncgroups == SHIM_CGROUPS_MAX) {
            return shim_fail(reason, "more than %d times '--cgroup'", SHIM_CGROUPS_MAX);
        }
        c->cgroups[c->ncgroups++] = arg;
        return 0;
    case OPT_OOM_FILE:
        c->oom_file = arg;
        return 0;
    case OPT_OVERLAY:
        c->lower = arg;
        return 0;
    case OPT_HYBRID:
        c->hybrid_cgroup = true;
        return 0;
    case OPT_BRIDGE:
        c->bridge = arg;
        return 0;
    case OPT_VETH:
        c->veth = arg;
        return 0;
    case OPT_ADDRESS:
        c->address = arg;
        return 0;
    case OPT_GATEWAY:
        c->gateway = arg;
        return 0;
    case OPT_RUNTIME_PID:
        c->runtime_pid = arg;
        return 0;
    case OPT_RUNTIME_LOG:
        c->runtime_log = arg;
        return 0;
    case '?':
    case ':':
        return shim_fail(reason, "unknown option, or an option without its value");
    default:
        return take_number_option(opt, arg, c, reason);
    }
}

/* The id goes into a JSON record and a container's name: nothing that needs escaping. */
static bool id_valid(const char *id)
{
    size_t len = strlen(id);
    return len >= 1 && len <= 64 && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

int shim_parse_args(int argc, char **argv, struct shim_config *ret, struct shim_reason *reason)
{
    struct shim_config c = {.run = 1, .log_bytes_max = 4 << 20, .log_files_max = 3};
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (take_option(opt, optarg, &c, reason) < 0) {
            return -1;
        }
    }
    if (!c.dir || !c.id || optind >= argc) {
        return shim_fail(reason,
                         "usage: skerry-shim --dir DIR --id ID [options] -- PROGRAM [ARG...]");
    }
    if (!id_valid(c.id)) {
        return shim_fail(reason, "'--id' must be 1 to 64 characters of [a-z0-9-]");
    }
    if (c.bridge && (!c.veth || !c.address || !c.gateway)) {
        return shim_fail(reason, "'--bridge' needs '--veth', '--address' and '--gateway'");
    }
    c.argv = argv + optind;
    *ret = c;
    return 0;
}
