/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a program of its own, for tests: agentd DATA SHIM [NODE SITE PREFIX [LOG_BYTES
 * [KEEP_MS]]] */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/log.h"

static void to_stderr(enum sk_log_level level, const char *line, void *ctx)
{
    (void)fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    struct agent_config config = {.peer_uid = getuid()};
    struct sk_err err = {0};

    if (argc < 3) {
        return 2;
    }
    sk_log_set_sink(to_stderr, NULL);
    config.data_dir = argv[1];
    config.shim_path = argv[2];
    config.node = argc > 3 ? argv[3] : "n1";
    config.site = argc > 4 ? argv[4] : "s1";
    config.prefix = argc > 5 ? argv[5] : "";
    config.log_bytes_max = argc > 6 ? strtol(argv[6], NULL, 10) : 0;
    config.image_keep_ms = argc > 7 ? strtol(argv[7], NULL, 10) : 0;
    if (agent_main(&config, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
