/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_seats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "daemon/config.h"
#include "sys/clock.h"
#include "sys/file.h"

/* The control nodes: how many, which, and following what changes them. */

#define BEGIN_TIMEOUT_MS 125000
#define LOOK_TIMEOUT_MS 5000
#define LOOK_MS 300
#define TALK_MS 3000
#define PATIENCE_MS 60000 /* of calls that fail: control may change hands meanwhile */
#define PEM_BYTES_MAX 16384

/* ---- following ---- */

struct follow {
    char id[40];
    char told[300];
    char stays[64]; /* one of those that it is made for: a control node afterwards */
    int64_t talked_ms, failed_since_ms;
};

static void talk(struct follow *f, const char *text)
{
    int64_t now = sys_now_ms();

    if (strcmp(text, f->told) != 0 || now - f->talked_ms >= TALK_MS) {
        (void)fprintf(stderr, "%s\n", text);
        (void)snprintf(f->told, sizeof(f->told), "%s", text);
        f->talked_ms = now;
    }
}

/* *ret_over once it has come to its end: 0 for done, else why not. */
static int look(struct api_client *client, struct follow *f, bool *ret_over, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    const struct sk_node *op, *last;
    int r = api_call(client, "GET", "/v1/control/seats", SK_STR_NULL, LOOK_TIMEOUT_MS, arena, &root,
                     NULL, err);

    if (r == 0) {
        op = sk_map_get(root, SK_STR("operation"));
        last = sk_map_get(root, SK_STR("last"));
        if (last && last->kind == SK_MAP && sk_str_is(sk_map_str(last, "id", SK_STR("")), f->id)) {
            *ret_over = true;
            if (!sk_str_is(sk_map_str(last, "outcome", SK_STR("")), "done")) {
                r = sk_err_set(err, SK_ERR_ENGINE, "undone: %.*s",
                               SK_PRI(sk_map_str(last, "error", SK_STR(""))));
            }
        } else if (op && op->kind == SK_MAP) {
            struct sk_str waits = sk_map_str(root, "waits_for", SK_STR(""));
            const struct sk_node *made_for = sk_map_seq(op, "nodes");
            char text[300];
            if (made_for && made_for->count && made_for->u.items[0].kind == SK_STRING) {
                (void)snprintf(f->stays, sizeof(f->stays), "%.*s",
                               SK_PRI(made_for->u.items[0].u.text));
            }
            (void)snprintf(text, sizeof(text), "%.*s%s%.*s",
                           SK_PRI(sk_map_str(op, "phase", SK_STR(""))),
                           waits.len ? ": waiting for " : "", SK_PRI(waits));
            talk(f, text);
        }
    }
    sk_arena_free(arena);
    return r;
}

/* The server that it was said to has left the control nodes by it. A node is told to leave only
 * once the record is without it: so it has taken place, and the others do the rest. */
static bool left(const struct cli *cli)
{
    struct daemon_config config;

    return !cli_value(cli, "server") && daemon_config_load(cli_data_dir(cli), &config, NULL) == 0 &&
           !config.is_control;
}

static int follow(const struct cli *cli, const char *id, struct sk_err *err)
{
    struct follow f = {.talked_ms = sys_now_ms()};
    int r = 0;

    (void)snprintf(f.id, sizeof(f.id), "%s", id);
    for (bool over = false; !over;) {
        struct api_client *client = NULL;
        struct sk_err why = {0};
        r = api_client_new(cli, &client, &why);
        r = r < 0 ? r : look(client, &f, &over, &why);
        api_client_free(client);
        if (r < 0 && !over) {
            int64_t now = sys_now_ms();
            f.failed_since_ms = f.failed_since_ms ? f.failed_since_ms : now;
            if (left(cli)) {
                (void)fprintf(stderr, "this server is no control node any more%s%s\n",
                              f.stays[0] ? "; ask at " : "", f.stays);
                return 0;
            }
            if (now - f.failed_since_ms > PATIENCE_MS) {
                *err = why;
                return sk_err_wrap(err, "it goes on without this command");
            }
        } else {
            f.failed_since_ms = 0;
        }
        if (over) {
            *err = r < 0 ? why : *err;
            return r;
        }
        (void)usleep(LOOK_MS * 1000);
    }
    return r;
}

/* Begins it, then follows it to its end: the command may be ended meanwhile, it goes on. */
static int begin(struct cli *cli, const char *path, const struct sk_buf *body, bool wait,
                 struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    char id[40] = "";
    int r = api_client_new(cli, &client, err);

    r = r < 0 ? r
              : api_call(client, "POST", path, sk_buf_str(body), BEGIN_TIMEOUT_MS, arena, &root,
                         &text, err);
    if (r == 0) {
        (void)snprintf(id, sizeof(id), "%.*s", SK_PRI(sk_map_str(root, "id", SK_STR(""))));
        (void)fprintf(stderr, "%.*s\n", SK_PRI(sk_map_str(root, "text", SK_STR(""))));
    }
    api_client_free(client);
    if (r == 0 && wait && id[0]) {
        r = follow(cli, id, err);
    }
    if (r == 0) {
        cli_write(cli->json ? sk_buf_str(&text) : SK_STR("done\n"));
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

/* ---- grow ---- */

static int put_file(const struct cli *cli, const char *option, const char *key, struct sk_jw *w,
                    struct sk_err *err)
{
    const char *path = cli_value(cli, option);
    struct sk_buf text = SK_BUF_INIT;
    int r;

    if (!path) {
        return sk_err_set(err, SK_ERR_USAGE, "--etcd needs --%s FILE", option);
    }
    r = sys_file_read(path, PEM_BYTES_MAX, &text, err);
    if (r == 0) {
        sk_jw_kstr(w, key, sk_buf_str(&text));
        explicit_bzero(text.ptr, text.cap);
    } else {
        err->code = SK_ERR_USAGE;
        r = sk_err_wrap(err, "--%s", option);
    }
    sk_buf_release(&text);
    return r;
}

static int put_etcd(const struct cli *cli, struct sk_jw *w, struct sk_err *err)
{
    const char *url;

    if (!cli_value(cli, "etcd")) {
        return 0;
    }
    sk_jw_key(w, "etcd");
    sk_jw_obj(w);
    sk_jw_key(w, "endpoints");
    sk_jw_arr(w);
    for (size_t i = 0; (url = cli_value_at(cli, "etcd", i)); i++) {
        sk_jw_cstr(w, url);
    }
    sk_jw_arr_end(w);
    if (put_file(cli, "etcd-ca", "ca", w, err) < 0 ||
        put_file(cli, "etcd-cert", "cert", w, err) < 0 ||
        put_file(cli, "etcd-key", "key", w, err) < 0) {
        return err->code;
    }
    sk_jw_obj_end(w);
    return 0;
}

int control_grow(struct cli *cli, struct sk_err *err)
{
    const char *members = cli_value(cli, "members");
    struct sk_buf body = SK_BUF_INIT;
    struct sk_jw w;
    int64_t n = 0;
    int r;

    if (members && sk_parse_int(sk_str(members), 3, 5, &n, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--members");
    }
    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    sk_jw_key(&w, "nodes");
    sk_jw_arr(&w);
    for (size_t i = 1; i < cli->nargs; i++) {
        sk_jw_cstr(&w, cli->args[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_kint(&w, "members", n);
    r = put_etcd(cli, &w, err);
    if (r == 0) {
        sk_jw_obj_end(&w);
        r = begin(cli, "/v1/control/grow", &body, !cli_flag(cli, "no-wait"), err);
    }
    if (body.ptr) {
        explicit_bzero(body.ptr, body.cap);
    }
    sk_buf_release(&body);
    return r;
}

/* ---- shrink, replace, abort ---- */

static int run_named(struct cli *cli, const char *path, const char *key, const char *option,
                     struct sk_err *err)
{
    struct sk_buf body = SK_BUF_INIT;
    struct sk_jw w;
    int r;

    sk_jw_init(&w, &body);
    sk_jw_obj(&w);
    if (option && cli_value(cli, option)) {
        sk_jw_kcstr(&w, key, cli_value(cli, option));
    }
    if (cli->nargs > 1) {
        sk_jw_kcstr(&w, "node", cli->args[1]);
    }
    sk_jw_obj_end(&w);
    r = begin(cli, path, &body, !cli_flag(cli, "no-wait") && option, err);
    sk_buf_release(&body);
    return r;
}

/* ---- seats ---- */

static void print_seats(const struct sk_node *root, struct sk_buf *out)
{
    const struct sk_node *members = sk_map_seq(root, "members");
    const struct sk_node *op = sk_map_get(root, SK_STR("operation"));
    struct sk_str waits = sk_map_str(root, "waits_for", SK_STR(""));

    sk_buf_printf(out,
                  "state in %.*s; control nodes:", SK_PRI(sk_map_str(root, "store", SK_STR(""))));
    for (uint32_t i = 0; members && i < members->count; i++) {
        sk_buf_printf(out, " %.*s", SK_PRI(members->u.items[i].u.text));
    }
    sk_buf_addc(out, '\n');
    if (op && op->kind == SK_MAP) {
        sk_buf_printf(out, "under way: %.*s (%.*s)%s%.*s\n",
                      SK_PRI(sk_map_str(op, "kind", SK_STR(""))),
                      SK_PRI(sk_map_str(op, "phase", SK_STR(""))),
                      waits.len ? ", waiting for " : "", SK_PRI(waits));
    }
}

int control_seats(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    int r = api_client_new(cli, &client, err);

    r = r < 0 ? r
              : api_call(client, "GET", "/v1/control/seats", SK_STR_NULL, LOOK_TIMEOUT_MS, arena,
                         &root, cli->json ? &text : NULL, err);
    if (r == 0) {
        if (!cli->json) {
            print_seats(root, &text);
        }
        cli_write(sk_buf_str(&text));
    }
    api_client_free(client);
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

int control_shrink(struct cli *cli, struct sk_err *err)
{
    return run_named(cli, "/v1/control/shrink", "to", "to", err);
}

int control_replace(struct cli *cli, struct sk_err *err)
{
    return run_named(cli, "/v1/control/replace", "with", "with", err);
}

int control_abort(struct cli *cli, struct sk_err *err)
{
    return run_named(cli, "/v1/control/abort", "to", NULL, err);
}
