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

int daemon_run(const struct daemon_options *options, struct sk_err *err)
{
    const char *role = options->role ? options->role : "daemon";
    struct daemon_config config;
    int r;

    sk_log_set_sink(log_line, (void *)(uintptr_t)role);
    sk_log_set_level(options->verbose ? SK_LOG_DEBUG : SK_LOG_INFO);
    if (daemon_config_load(options->dir, &config, err) < 0) {
        return err ? err->code : SK_ERR_NOT_FOUND;
    }
    if (!options->role) {
        return daemon_supervise(options->dir, config.user, err);
    }
    (void)prctl(PR_SET_NAME, strcmp(options->role, "agent") == 0 ? "skerry-agent" : "skerryd");
    r = strcmp(options->role, "agent") == 0 ? run_agent(&config, err) : netd_run(&config, err);
    if (r < 0) {
        sk_log_err(SK_LOG_ERROR, "stopped", err);
    }
    return r;
}
