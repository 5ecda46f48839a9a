/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/commands.h"
#include "daemon/daemon.h"
#include "daemon/init.h"
#include "daemon/recover.h"
#include "daemon/supervise.h"
#include "sys/file.h"

/* How a server comes to be one of a cluster, and runs: init, join, daemon. */

#define SETUP_OPTIONS                                                                           \
    {"site", "NAME", "the site that this server stands in", false},                             \
        {"node", "NAME", "its name in the cluster (default: the host's name)", false},          \
        {"address", "HOST",                                                                     \
         "where other servers reach it (default: the first that is no loopback)", false},       \
        {"listen", "IP", "the address that its ports listen on (default 0.0.0.0)", false},      \
        {"data", "DIR", "the data folder (default $SKERRY_DATA, else /var/lib/skerry)", false}, \
        {"cpus", "N", "what it offers to services (default: detected, less 0.25)", false},      \
        {"memory", "SIZE", "what it offers to services (default: detected, less 512M)", false}, \
        {"disk", "SIZE", "what it offers to services (default: what is free)", false},          \
        {"user", "NAME", "whom the unprivileged half becomes (default skerry, else nobody)",    \
         false},                                                                                \
        {"port", "N", "of the channel between servers (default 7400)", false},                  \
        {"api-port", "N", "of the HTTPS API (default 7410; 0 = only the local socket)", false}, \
    {                                                                                           \
        "ingress-port", "N", "of routed hosts (default 80 as root, else 8080)", false           \
    }

static const struct cli_option init_options[] = {
    SETUP_OPTIONS,
    {"cluster", "NAME", "the cluster's name (default: skerry)", false},
    {"currency", "CODE", "of prices (default EUR)", false},
    {"range", "CIDR", "a /16 for instances' addresses (default 10.210.0.0/16)", false},
    {"control-only", NULL, "this site holds control and runs no services", false},
    {"lab", NULL, "nodes may share one machine; recorded, and shown in every status", false},
};

static const struct cli_option join_options[] = {
    SETUP_OPTIONS,
    {"token-file", "FILE", "file with the join token (default: standard input)", false},
};

static int copy_value(const struct cli *cli, const char *name, char *out, size_t size,
                      struct sk_err *err)
{
    const char *value = cli_value(cli, name);

    if (value && strlen(value) >= size) {
        return sk_err_set(err, SK_ERR_USAGE, "--%s: '%s' is longer than %zu bytes", name, value,
                          size - 1);
    }
    if (value) {
        memcpy(out, value, strlen(value) + 1);
    }
    return 0;
}

static int port_value(const struct cli *cli, const char *name, uint16_t *port, struct sk_err *err)
{
    const char *value = cli_value(cli, name);
    int64_t n;

    if (!value) {
        return 0;
    }
    if (sk_parse_int(sk_str(value), 0, 65535, &n, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--%s", name);
    }
    *port = (uint16_t)n;
    return 0;
}

static int size_value(const struct cli *cli, const char *name, int64_t *ret, struct sk_err *err)
{
    const char *value = cli_value(cli, name);
    int r = 0;

    if (value) {
        r = strcmp(name, "cpus") == 0 ? sk_parse_cpus(sk_str(value), ret, err)
                                      : sk_parse_bytes(sk_str(value), ret, err);
    }
    if (r < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--%s", name);
    }
    return 0;
}

static int read_setup(const struct cli *cli, struct daemon_setup *setup, struct sk_err *err)
{
    struct daemon_config *c = &setup->config;

    if (strlen(cli_data_dir(cli)) > 90) {
        return sk_err_set(err, SK_ERR_USAGE,
                          "the data folder's path '%s' is too long for its unix sockets",
                          cli_data_dir(cli));
    }
    daemon_config_init(c, cli_data_dir(cli));
    if (!cli_value(cli, "site") || !sk_str_is_label(sk_str(cli_value(cli, "site")))) {
        (void)sk_err_set(err, SK_ERR_USAGE,
                         "the name of this server's site is needed, of [a-z0-9-]");
        return sk_err_fix(err, "skerry %s --site NAME", cli->command->name);
    }
    if (copy_value(cli, "site", c->site, sizeof(c->site), err) < 0 ||
        copy_value(cli, "node", c->node, sizeof(c->node), err) < 0 ||
        copy_value(cli, "address", c->address, sizeof(c->address), err) < 0 ||
        copy_value(cli, "listen", c->listen, sizeof(c->listen), err) < 0 ||
        copy_value(cli, "user", c->user, sizeof(c->user), err) < 0 ||
        port_value(cli, "port", &c->channel_port, err) < 0 ||
        port_value(cli, "api-port", &c->api_port, err) < 0 ||
        port_value(cli, "ingress-port", &c->ingress_port, err) < 0 ||
        size_value(cli, "cpus", &setup->cpus_nano, err) < 0 ||
        size_value(cli, "memory", &setup->memory_bytes, err) < 0 ||
        size_value(cli, "disk", &setup->disk_bytes, err) < 0) {
        return err->code;
    }
    return 0;
}

/* The one time that it is shown. */
static void print_code(const char *code, struct sk_buf *out)
{
    sk_buf_printf(out,
                  "\nrecovery code:     %s\n                   write it down and keep it away from "
                  "these servers: it alone opens backups, and\n                   nobody can show "
                  "it again\n",
                  code);
}

static void print_setup(const struct cli *cli, const struct daemon_setup *setup, const char *format)
{
    const struct daemon_config *c = &setup->config;
    char code[SEAL_CODE_TEXT_SIZE];
    struct sk_buf out = SK_BUF_INIT;

    seal_code_print(&setup->code, code);

    if (cli->json) {
        struct sk_jw w;
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", format);
        sk_jw_kcstr(&w, "cluster", c->cluster);
        sk_jw_kcstr(&w, "node", c->node);
        sk_jw_kcstr(&w, "site", c->site);
        sk_jw_kcstr(&w, "address", c->address);
        sk_jw_kcstr(&w, "prefix", c->prefix);
        sk_jw_kcstr(&w, "data", c->dir);
        sk_jw_kcstr(&w, "control", c->controls[0]);
        if (c->is_control) {
            sk_jw_kcstr(&w, "recovery_code", code);
        }
        sk_jw_obj_end(&w);
        sk_buf_addc(&out, '\n');
    } else {
        sk_buf_printf(&out,
                      "node %s of site %s is in cluster %s; its data is in %s\n\nstart it:         "
                      " skerry daemon --data %s\n",
                      c->node, c->site, c->cluster, c->dir, c->dir);
        if (c->is_control) {
            sk_buf_printf(
                &out,
                "add a server:      skerry token --site NAME > token      (here, once the daemon "
                "runs)\n"
                "                   skerry join %s --site NAME < token    (on the other server)\n",
                c->controls[0]);
            print_code(code, &out);
        }
    }
    cli_write(sk_buf_str(&out));
    explicit_bzero(code, sizeof(code));
    seal_wipe(&out);
}

static int run_init(struct cli *cli, struct sk_err *err)
{
    struct daemon_setup setup = {0};

    if (read_setup(cli, &setup, err) < 0) {
        return err->code;
    }
    setup.cluster = cli_value(cli, "cluster") ? cli_value(cli, "cluster") : "skerry";
    setup.currency = cli_value(cli, "currency") ? cli_value(cli, "currency") : "";
    setup.range = cli_value(cli, "range") ? cli_value(cli, "range") : "";
    setup.role = cli_flag(cli, "control-only") ? "control" : "node";
    setup.lab = cli_flag(cli, "lab");
    if (daemon_init(&setup, err) < 0) {
        return err->code;
    }
    print_setup(cli, &setup, "skerry.init/1");
    explicit_bzero(&setup.code, sizeof(setup.code));
    return 0;
}

static int run_join(struct cli *cli, struct sk_err *err)
{
    const char *path = cli_value(cli, "token-file");
    struct daemon_setup setup = {0};
    struct sk_buf token = SK_BUF_INIT;
    int r;

    if (read_setup(cli, &setup, err) < 0) {
        return err->code;
    }
    if (!path && isatty(STDIN_FILENO)) {
        (void)fprintf(stderr, "join token: ");
    }
    r = path ? sys_file_read(path, 4096, &token, err)
             : sys_fd_read(STDIN_FILENO, "standard input", 4096, &token, err);
    setup.control = cli->args[0];
    setup.token = sk_buf_str(&token);
    if (r == 0) {
        r = daemon_join(&setup, err);
    }
    if (token.ptr) {
        explicit_bzero(token.ptr, token.cap);
    }
    sk_buf_release(&token);
    if (r == 0) {
        print_setup(cli, &setup, "skerry.join/1");
    }
    return r;
}

static const struct cli_option rejoin_options[] = {
    {"data", "DIR", "the data folder (default $SKERRY_DATA, else /var/lib/skerry)", false},
};

static int run_rejoin(struct cli *cli, struct sk_err *err)
{
    struct daemon_config config;

    if (daemon_rejoin(cli_data_dir(cli), cli->args[0], &config, err) < 0) {
        return err->code;
    }
    if (cli->json) {
        struct daemon_setup setup = {.config = config};
        setup.config.is_control = false;
        print_setup(cli, &setup, "skerry.rejoin/1");
    } else {
        struct sk_buf out = SK_BUF_INIT;
        sk_buf_printf(&out,
                      "node %s looks for control at %s; restart its daemon (what runs on it goes "
                      "on)\n",
                      config.node, config.controls[0]);
        cli_write(sk_buf_str(&out));
        sk_buf_release(&out);
    }
    return 0;
}

static const struct cli_option daemon_options[] = {
    {"data", "DIR", "the data folder (default $SKERRY_DATA, else /var/lib/skerry)", false},
    {"role", "NAME", "run one half only: net or agent (they are started by the daemon itself)",
     false},
    {"verbose", NULL, "log what is done, not only what matters", false},
};

static int run_daemon(struct cli *cli, struct sk_err *err)
{
    struct daemon_options options = {.dir = cli_data_dir(cli),
                                     .role = cli_value(cli, "role"),
                                     .verbose = cli_flag(cli, "verbose")};

    if (options.role && strcmp(options.role, "net") != 0 && strcmp(options.role, "agent") != 0) {
        (void)sk_err_set(err, SK_ERR_USAGE, "--role: '%s' is none", options.role);
        return sk_err_fix(err, "net or agent; without it the daemon starts both");
    }
    return daemon_run(&options, err);
}

const struct cli_command cmd_init = {
    .name = "init",
    .group = "Servers",
    .args = "",
    .summary = "make this server the first of a new cluster",
    .text = "Makes the cluster's certificate authority and its state, and this server's own "
            "identity. Changes nothing else\n"
            "on this server; 'skerry daemon' starts it.",
    .examples = "  skerry init --site fra\n  skerry init --site hub --control-only --address "
                "hub.example.com\n",
    .options = init_options,
    .noptions = SK_ARRAY_LEN(init_options),
    .run = run_init,
};

const struct cli_command cmd_join = {
    .name = "join",
    .group = "Servers",
    .args = "HOST:PORT",
    .summary = "make this server one more of a cluster",
    .text = "Asks a control node for this server's certificate. The token (see 'skerry token') is "
            "read from standard input or\n"
            "from --token-file, never from the command line, where every user of this machine "
            "could see it.",
    .examples = "  skerry join fra1.example.com:7400 --site ams < token\n",
    .options = join_options,
    .noptions = SK_ARRAY_LEN(join_options),
    .min_args = 1,
    .max_args = 1,
    .run = run_join,
};

const struct cli_command cmd_daemon = {
    .name = "daemon",
    .group = "Servers",
    .args = "",
    .summary = "run this server, in the foreground",
    .text = "Starts the two halves of a server: one without privilege that speaks every network, "
            "one with it that runs\n"
            "containers and processes. What runs on this server goes on running when the daemon is "
            "stopped or restarted.",
    .examples = "  skerry daemon\n  skerry daemon --data /srv/skerry\n",
    .options = daemon_options,
    .noptions = SK_ARRAY_LEN(daemon_options),
    .run = run_daemon,
};

const struct cli_command cmd_rejoin = {
    .name = "rejoin",
    .group = "Servers",
    .args = "HOST:PORT",
    .summary = "tell this server that control is at another address now",
    .text =
        "For after a restore of control on a server with another address. Connects to it first, "
        "with this server's own\n"
        "certificate, and believes only a control node of its cluster. The daemon takes the "
        "address at its next start,\n"
        "which stops nothing of what runs.",
    .examples = "  skerry rejoin 203.0.113.9:7400\n",
    .options = rejoin_options,
    .noptions = SK_ARRAY_LEN(rejoin_options),
    .min_args = 1,
    .max_args = 1,
    .run = run_rejoin,
};
