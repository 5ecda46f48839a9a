/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/supervise.h"

/* One write a line, so that the lines of the halves never mix. */
static void log_line(enum sk_log_level level, const char *line, void *ctx)
{
    char out[1200];
    int n = snprintf(out, sizeof(out), "<%d>%s role=%s\n", (int)level, line, (const char *)ctx);

    if (n > 0) {
        ssize_t written =
            write(STDERR_FILENO, out, (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1);
        (void)written; /* nobody is left to tell */
    }
}

static int run_agent(const struct daemon_config *config, struct sk_err *err)
{
    struct agent_config agent = {0};
    unsigned uid, gid;

    if (daemon_user(config->user, &uid, &gid, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    agent.data_dir = config->dir;
    agent.node = config->node;
    agent.site = config->site;
    agent.prefix = config->prefix;
    agent.peer_uid = uid;
    return agent_main(&agent, err);
}

static int run_half(const struct daemon_options *options, const struct daemon_config *config,
                    struct sk_err *err)
{
    bool is_agent = strcmp(options->role, "agent") == 0;

    (void)prctl(PR_SET_NAME, is_agent ? "skerry-agent" : "skerryd");
    return is_agent ? run_agent(config, err) : netd_run(config, err);
}

int daemon_run(const struct daemon_options *options, struct sk_err *err)
{
    const char *role = options->role ? options->role : "daemon";
    struct daemon_config config;
    int r;

    sk_log_set_sink(log_line, (void *)(uintptr_t)role);
    sk_log_set_level(options->verbose ? SK_LOG_DEBUG : SK_LOG_INFO);
    r = daemon_config_load(options->dir, &config, err);
    if (r == 0) {
        r = options->role ? run_half(options, &config, err)
                          : daemon_supervise(options->dir, config.user, options->verbose, err);
    }
    return r;
}
