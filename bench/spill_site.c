/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One site's ingress for bench/spill.py, with a real HAProxy.
 *
 *     spill_site keys DIR NODE...                               DIR/ca.pem, DIR/NODE.crt, .key
 *     spill_site run DIR NODE INGRESS-DIR VIEW.json [HAPROXY]   on ports 80 and 7443
 *
 * `run` serves the view (as an `assign` frame has it) with the identity DIR/NODE, says "settled"
 * when HAProxy serves it, and ends at the end of its standard input. Exit: 0, or 1 with a line on
 * standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/json.h"
#include "base/mem.h"
#include "net/identity.h"
#include "net/ingress.h"
#include "sys/clock.h"
#include "sys/file.h"

#define FILE_BYTES_MAX (1U << 20)

static int complain(const struct sk_err *err)
{
    (void)fprintf(stderr, "spill_site: %s\n", err->msg);
    return 1;
}

static int write_pem(const char *dir, const char *name, const char *suffix, struct sk_str text,
                     struct sk_err *err)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
    return sys_file_write(path, text, 0600, err);
}

static int read_pem(const char *dir, const char *name, const char *suffix, struct sk_buf *out,
                    struct sk_err *err)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
    return sys_file_read(path, FILE_BYTES_MAX, out, err);
}

static int make_identity(struct net_ca *ca, const char *dir, const char *node, struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf csr = SK_BUF_INIT;
    struct sk_buf cert = SK_BUF_INIT;
    struct net_cert_info info;
    struct net_issue issue = {.kind = NET_CERT_NODE, .node = node, .wall_ms = sys_wall_ms()};
    int r = net_key_new(&key, err);
    r = r < 0 ? r : net_csr_new(sk_buf_str(&key), node, &csr, err);
    r = r < 0 ? r : net_ca_issue(ca, sk_buf_str(&csr), &issue, &cert, &info, err);
    r = r < 0 ? r : write_pem(dir, node, ".key", sk_buf_str(&key), err);
    r = r < 0 ? r : write_pem(dir, node, ".crt", sk_buf_str(&cert), err);
    sk_buf_release(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
    return r;
}

static int make_keys(const char *dir, char **nodes, struct sk_err *err)
{
    struct net_ca *ca = NULL;
    int r = net_ca_new("bench", sys_wall_ms(), &ca, err);
    r = r < 0 ? r : write_pem(dir, "ca", ".pem", sk_str(net_ca_pem(ca)), err);
    for (; r == 0 && *nodes != NULL; nodes++) {
        r = make_identity(ca, dir, *nodes, err);
    }
    net_ca_free(ca);
    return r;
}

static int take_identity(struct ingress *ing, const char *dir, const char *node, struct sk_err *err)
{
    struct sk_buf cert = SK_BUF_INIT;
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf ca = SK_BUF_INIT;
    int r = read_pem(dir, node, ".crt", &cert, err);
    r = r < 0 ? r : read_pem(dir, node, ".key", &key, err);
    r = r < 0 ? r : read_pem(dir, "ca", ".pem", &ca, err);
    r = r < 0
            ? r
            : ingress_set_identity(ing, sk_buf_str(&cert), sk_buf_str(&key), sk_buf_str(&ca), err);
    sk_buf_release(&cert);
    sk_buf_release(&key);
    sk_buf_release(&ca);
    return r;
}

static int take_view(struct ingress *ing, const char *path, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    struct ingress_view view;
    int r = sys_file_read(path, FILE_BYTES_MAX, &text, err);
    r = r < 0 ? r : sk_json_read(arena, path, sk_buf_str(&text), NULL, &root, err);
    r = r < 0 ? r : ingress_view_read(arena, root, &view, err);
    r = r < 0 ? r : ingress_apply(ing, &view, err);
    sk_buf_release(&text);
    sk_arena_free(arena);
    return r;
}

static void on_event(void *ctx, enum ingress_event event, const struct sk_err *err)
{
    (void)ctx;
    if (err->code != 0) {
        (void)complain(err);
    } else if (event == INGRESS_STARTED) {
        (void)puts("settled");
        (void)fflush(stdout);
    }
}

static void on_stopped(void *ctx)
{
    uv_stop(ctx);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    char byte;
    (void)events;
    if (status < 0 || read(STDIN_FILENO, &byte, 1) <= 0) {
        struct ingress *ing = poll->data;
        (void)uv_poll_stop(poll);
        ingress_stop(ing, on_stopped, poll->loop);
    }
}

static int serve(char **argv, struct sk_err *err)
{
    uv_loop_t loop;
    uv_poll_t input;
    struct ingress *ing = NULL;
    (void)uv_loop_init(&loop);
    struct ingress_options options = {
        .loop = &loop, .dir = argv[4], .program = argv[6], .event = on_event};
    int r = ingress_new(&options, &ing, err);
    r = r < 0 ? r : take_identity(ing, argv[2], argv[3], err);
    r = r < 0 ? r : take_view(ing, argv[5], err);
    if (r < 0) {
        return r; /* the process ends with it */
    }
    (void)uv_poll_init(&loop, &input, STDIN_FILENO);
    input.data = ing;
    (void)uv_poll_start(&input, UV_READABLE, on_input);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    ingress_free(ing);
    return 0;
}

int main(int argc, char **argv)
{
    struct sk_err err = {0};
    int r = -1;
    if (argc >= 4 && strcmp(argv[1], "keys") == 0) {
        r = make_keys(argv[2], argv + 3, &err);
    } else if ((argc == 6 || argc == 7) && strcmp(argv[1], "run") == 0) {
        r = serve(argv, &err);
    } else {
        (void)sk_err_set(&err, SK_ERR_USAGE,
                         "usage: spill_site keys DIR NODE... | run DIR NODE "
                         "INGRESS-DIR VIEW.json [HAPROXY]");
    }
    return r < 0 ? complain(&err) : 0;
}
