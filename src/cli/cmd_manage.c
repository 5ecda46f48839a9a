/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands.h"

/* Small changes to a cluster: tokens, keys, facts of sites and nodes, drain, remove. */

#define CHANGE_TIMEOUT_MS 125000

typedef void print_fn(const struct cli *cli, const struct sk_node *answer, struct sk_buf *out);

/* One call; prints the answer as JSON, or by `print`. */
static int change(const struct cli *cli, const char *method, const struct sk_buf *path,
                  struct sk_str body, print_fn *print, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *answer = NULL;
    int r = api_client_new(cli, &client, err);

    if (r == 0) {
        r = api_call(client, method, path->ptr, body, CHANGE_TIMEOUT_MS, arena, &answer,
                     cli->json ? &text : NULL, err);
    }
    if (r == 0) {
        if (!cli->json) {
            print(cli, answer, &text);
        }
        cli_write(sk_buf_str(&text));
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}

static void print_done(const struct cli *cli, const struct sk_node *answer, struct sk_buf *out)
{
    struct sk_str text = sk_map_str(answer, "text", SK_STR("done"));

    (void)cli;
    sk_buf_addstr(out, text);
    sk_buf_addc(out, '\n');
}

/* The token alone on standard output, so that it can go into a pipe; the rest is talk. */
static void print_token(const struct cli *cli, const struct sk_node *answer, struct sk_buf *out)
{
    struct sk_str join = sk_map_str(answer, "join", SK_STR(""));

    sk_buf_addstr(out, sk_map_str(answer, "token", SK_STR("")));
    sk_buf_addc(out, '\n');
    if (join.len) {
        (void)fprintf(stderr,
                      "on the other server: skerry join %.*s --site %s, with this token on its "
                      "standard input\n",
                      SK_PRI(join), cli_value(cli, "site"));
    }
}

static const struct cli_option token_options[] = {
    {"site", "NAME", "the site that the new server will stand in", false},
    {"role", "NAME", "what a new site is trusted with: node (default), storage or control", false},
    {"ttl", "TIME", "how long the token is good, at most 1h (default 1h)", false},
};

static int run_token(struct cli *cli, struct sk_err *err)
{
    const char *ttl = cli_value(cli, "ttl");
    struct sk_buf path = SK_BUF_INIT, body = SK_BUF_INIT;
    struct sk_jw w;
    int64_t ttl_ms = 3600000;
    int r;

    if (!cli_value(cli, "site")) {
        return sk_err_set(err, SK_ERR_USAGE,
                          "token: --site NAME is needed: a token is bound to one site");
    }
    if (ttl && sk_parse_duration(sk_str(ttl), &ttl_ms, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--ttl");
    }
    sk_buf_adds(&path, "/v1/tokens");
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "site", cli_value(cli, "site"));
    sk_jw_kcstr(&w, "role", cli_value(cli, "role") ? cli_value(cli, "role") : "node");
    sk_jw_kint(&w, "ttl_ms", ttl_ms);
    sk_jw_obj_end(&w);
    r = change(cli, "POST", &path, sk_buf_str(&body), print_token, err);
    sk_buf_release(&path);
    sk_buf_release(&body);
    return r;
}

static const struct cli_option key_options[] = {
    {"role", "NAME", "admin, operator or viewer", false},
};

static int run_key(struct cli *cli, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT, body = SK_BUF_INIT;
    struct sk_jw w;
    int r;

    if (!cli_value(cli, "role")) {
        return sk_err_set(err, SK_ERR_USAGE, "key: --role admin, operator or viewer is needed");
    }
    sk_buf_adds(&path, "/v1/keys");
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "name", cli->args[0]);
    sk_jw_kcstr(&w, "role", cli_value(cli, "role"));
    sk_jw_obj_end(&w);
    r = change(cli, "POST", &path, sk_buf_str(&body), print_token, err);
    sk_buf_release(&path);
    sk_buf_release(&body);
    return r;
}

/* ---- facts of sites and nodes ---- */

static int put_text(const struct cli *cli, struct sk_jw *w, const char *option, const char *key)
{
    const char *value = cli_value(cli, option);
    if (value && *value) {
        sk_jw_kcstr(w, key, value);
    } else if (value) {
        sk_jw_knull(w, key); /* --region '' takes the fact away */
    }
    return 0;
}

static int put_number(const struct cli *cli, struct sk_jw *w, const char *option, const char *key,
                      struct sk_err *err)
{
    const char *value = cli_value(cli, option);
    double n;

    if (!value || !*value) {
        return put_text(cli, w, option, key);
    }
    if (sk_parse_num(sk_str(value), &n, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--%s", option);
    }
    sk_jw_knum(w, key, n);
    return 0;
}

static int put_place(const struct cli *cli, struct sk_jw *w, struct sk_err *err)
{
    const char *value = cli_value(cli, "at");
    struct sk_str lat_text, lon_text;
    double lat, lon;

    if (!value || !*value) {
        return put_text(cli, w, "at", "at");
    }
    if (!sk_str_cut(sk_str(value), ',', &lat_text, &lon_text) ||
        sk_parse_num(sk_str_trim(lat_text), &lat, err) < 0 ||
        sk_parse_num(sk_str_trim(lon_text), &lon, err) < 0) {
        return sk_err_set(err, SK_ERR_USAGE, "--at: '%s' is not LATITUDE,LONGITUDE in degrees",
                          value);
    }
    sk_jw_key(w, "at");
    sk_jw_arr(w);
    sk_jw_num(w, lat);
    sk_jw_num(w, lon);
    sk_jw_arr_end(w);
    return 0;
}

static int put_labels(const struct cli *cli, struct sk_jw *w, struct sk_err *err)
{
    const char *label;

    if (!cli_value(cli, "label")) {
        return 0;
    }
    sk_jw_key(w, "labels");
    sk_jw_obj(w);
    for (size_t i = 0; (label = cli_value_at(cli, "label", i)); i++) {
        struct sk_str key, value;
        if (!sk_str_cut(sk_str(label), '=', &key, &value) || key.len == 0) {
            return sk_err_set(err, SK_ERR_USAGE, "--label: '%s' is not KEY=VALUE", label);
        }
        sk_jw_keystr(w, key);
        if (value.len) {
            sk_jw_str(w, value);
        } else {
            sk_jw_null(w);
        }
    }
    sk_jw_obj_end(w);
    return 0;
}

static int check_verb(const struct cli *cli, struct sk_err *err)
{
    if (strcmp(cli->args[0], "set") != 0) {
        (void)sk_err_set(err, SK_ERR_USAGE, "'skerry %s' does not know '%s'", cli->command->name,
                         cli->args[0]);
        return sk_err_fix(err, "skerry %s %s", cli->command->name, cli->command->args);
    }
    return 0;
}

typedef int facts_fn(const struct cli *cli, struct sk_jw *w, struct sk_err *err);

/* `skerry site|node set NAME`: the members that `facts` writes, as one change. */
static int set_facts(struct cli *cli, const char *collection, facts_fn *facts, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT, body = SK_BUF_INIT;
    struct sk_jw w;
    int r = check_verb(cli, err);

    sk_buf_adds(&path, collection);
    api_escape(&path, sk_str(cli->args[1]));
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    r = r < 0 ? r : facts(cli, &w, err);
    if (r == 0) {
        sk_jw_obj_end(&w);
        r = change(cli, "PATCH", &path, sk_buf_str(&body), print_done, err);
    }
    sk_buf_release(&path);
    sk_buf_release(&body);
    return r;
}

static const struct cli_option site_options[] = {
    {"region", "NAME", "the region that residency speaks of, such as eu", false},
    {"country", "CC", "two letters, such as DE", false},
    {"at", "LAT,LON", "where it stands, in degrees", false},
    {"provider", "NAME", "whose site it is", false},
    {"egress-per-gb", "PRICE", "of a GB that leaves the site to users", false},
    {"price-gb-month", "PRICE", "of a GB stored for a month", false},
    {"trust", "NAME", "full, storage or control", false},
};

static int site_facts(const struct cli *cli, struct sk_jw *w, struct sk_err *err)
{
    int r;

    (void)put_text(cli, w, "region", "region");
    (void)put_text(cli, w, "country", "country");
    (void)put_text(cli, w, "provider", "provider");
    (void)put_text(cli, w, "trust", "trust");
    r = put_place(cli, w, err);
    r = r < 0 ? r : put_number(cli, w, "egress-per-gb", "egress_per_gb", err);
    return r < 0 ? r : put_number(cli, w, "price-gb-month", "price_gb_month", err);
}

static int run_site(struct cli *cli, struct sk_err *err)
{
    return set_facts(cli, "/v1/sites/", site_facts, err);
}

static const struct cli_option node_options[] = {
    {"price-hour", "PRICE", "what this server costs in an hour", false},
    {"label", "KEY=VALUE", "for placement constraints; KEY= takes it away; may be repeated", true},
    {"cpus", "N", "what it offers to services", false},
    {"memory", "SIZE", "what it offers to services", false},
    {"disk", "SIZE", "what it offers to services", false},
};

static int node_facts(const struct cli *cli, struct sk_jw *w, struct sk_err *err)
{
    int r;

    (void)put_text(cli, w, "memory", "memory");
    (void)put_text(cli, w, "disk", "disk");
    r = put_number(cli, w, "cpus", "cpus", err);
    r = r < 0 ? r : put_number(cli, w, "price-hour", "price_hour", err);
    return r < 0 ? r : put_labels(cli, w, err);
}

static int run_node(struct cli *cli, struct sk_err *err)
{
    return set_facts(cli, "/v1/nodes/", node_facts, err);
}

/* ---- drain, undrain, remove ---- */

static const struct cli_option drain_options[] = {
    {"site", NULL, "NAME is a site", false},
    {"force", NULL, "also when a policy is then not met", false},
};

static int run_drain(struct cli *cli, struct sk_err *err)
{
    struct sk_buf path = SK_BUF_INIT, body = SK_BUF_INIT;
    struct sk_jw w;
    int r;

    sk_buf_printf(&path, "/v1/%s", cli->command->name);
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, cli_flag(cli, "site") ? "site" : "node", cli->args[0]);
    if (cli_flag(cli, "force")) {
        sk_jw_kbool(&w, "force", true);
    }
    sk_jw_obj_end(&w);
    r = change(cli, "POST", &path, sk_buf_str(&body), print_done, err);
    sk_buf_release(&path);
    sk_buf_release(&body);
    return r;
}

static int run_remove(struct cli *cli, struct sk_err *err)
{
    static const struct {
        const char *kind, *path;
    } kinds[] = {{"node", "/v1/nodes/"},
                 {"site", "/v1/sites/"},
                 {"project", "/v1/projects/"},
                 {"token", "/v1/tokens/"},
                 {"key", "/v1/keys/"}};
    struct sk_buf path = SK_BUF_INIT;
    int r;

    for (size_t i = 0; i < SK_ARRAY_LEN(kinds); i++) {
        if (strcmp(cli->args[0], kinds[i].kind) == 0) {
            sk_buf_adds(&path, kinds[i].path);
            api_escape(&path, sk_str(cli->args[1]));
        }
    }
    if (!path.len) {
        (void)sk_err_set(err, SK_ERR_USAGE, "remove: '%s' is nothing that can be removed",
                         cli->args[0]);
        return sk_err_fix(err, "skerry remove node|site|project|token|key NAME");
    }
    r = change(cli, "DELETE", &path, SK_STR_NULL, print_done, err);
    sk_buf_release(&path);
    return r;
}

#define COMMAND(var, command_name, command_group, command_args, min, max, opts, nopts, runner, \
                sum, txt, ex)                                                                  \
    const struct cli_command var = {.name = command_name,                                      \
                                    .group = command_group,                                    \
                                    .args = command_args,                                      \
                                    .summary = sum,                                            \
                                    .text = txt,                                               \
                                    .examples = ex,                                            \
                                    .options = opts,                                           \
                                    .noptions = nopts,                                         \
                                    .min_args = min,                                           \
                                    .max_args = max,                                           \
                                    .speaks_api = true,                                        \
                                    .run = runner}

COMMAND(cmd_token, "token", "Servers", "", 0, 0, token_options, SK_ARRAY_LEN(token_options),
        run_token, "make a join token for one more server",
        "Prints a token that one server may use once, within an hour, to join at the named site.",
        "  skerry token --site ams > token\n");
COMMAND(
    cmd_key, "key", "Access", "NAME", 1, 1, key_options, SK_ARRAY_LEN(key_options), run_key,
    "make a key for the API",
    "Prints a bearer token for the HTTPS API. It is shown once; the cluster keeps only its hash.",
    "  skerry key ci --role operator > ci.key\n");
COMMAND(cmd_site, "site", "Servers", "set NAME", 2, 2, site_options, SK_ARRAY_LEN(site_options),
        run_site, "say what cannot be measured of a site: region, country, place, prices",
        "Sets facts of a site. An empty value takes the fact away: what is unknown is shown as "
        "unknown, never as 0.",
        "  skerry site set fra --region eu --country DE --at 50.11,8.68 --egress-per-gb 0.001\n");
COMMAND(cmd_node, "node", "Servers", "set NAME", 2, 2, node_options, SK_ARRAY_LEN(node_options),
        run_node, "say what cannot be measured of a server: price, labels",
        "Sets facts of a server, or what it offers to services.",
        "  skerry node set fra-1 --price-hour 0.09 --label disk=ssd\n");
COMMAND(cmd_drain, "drain", "Servers", "NAME", 1, 1, drain_options, SK_ARRAY_LEN(drain_options),
        run_drain, "move everything off a server, or off a site with --site",
        "Plans without the server, starts everything elsewhere, then stops it here. Refused with "
        "status 3 when a policy would not\n"
        "be met, unless --force is given.",
        "  skerry drain fra-1\n  skerry drain fra --site\n");
COMMAND(cmd_undrain, "undrain", "Servers", "NAME", 1, 1, drain_options, SK_ARRAY_LEN(drain_options),
        run_drain, "let a drained server or site take work again",
        "Ends a drain. What runs elsewhere stays there unless a move pays for itself.",
        "  skerry undrain fra-1\n");
COMMAND(cmd_remove, "remove", "Servers", "KIND NAME", 2, 2, NULL, 0, run_remove,
        "take a node, site, project, token or key out of the cluster",
        "A node must be drained or lost; its certificate is refused everywhere from then on. "
        "Removing a project stops its services.",
        "  skerry remove node fra-2\n  skerry remove project shop\n");
