/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "base/mem.h"
#include "daemon/keys.h"
#include "sys/clock.h"

/*
 * Control nodes on one loop, each with a folder, a server, a client to all servers and its keys, as
 * skerryd wires them; and a node without the control role that asks for shares like them.
 */
#define NODES 4
#define PLAIN 3 /* the one without the role */
#define PATIENCE_MS 20000
#define ASK_MS 50

struct node {
    char name[16], dir[96];
    struct net_identity identity;
    struct net_server *server;
    struct net_client *client;
    struct keys *keys;
    unsigned opened, shares, kept, recoveries;
    size_t members; /* how many control nodes there are, by what it knows */
    bool lies;      /* answers with what it keeps in `lie` */
    struct sk_buf lie;
};

static uv_loop_t loop;
static uv_timer_t tick;
static struct net_ca *ca;
static struct node nodes[NODES];
static char top[64];

static void server_up(void *ctx, struct net_peer *peer)
{
    struct node *n = ctx;
    bool control = strcmp(net_peer_info(peer)->cert.node, nodes[PLAIN].name) != 0;
    assert_int_equal(keys_peer_up(n->keys, peer), control);
}

static void server_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct node *n = ctx;
    if (n->lies && sk_str_is(frame->type, "share_ask")) {
        (void)net_send(peer, sk_buf_str(&n->lie), NULL);
    } else {
        (void)keys_on_request(n->keys, peer, frame);
    }
}

static void server_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)why;
    keys_peer_down(((struct node *)ctx)->keys, peer);
}

static void client_up(void *ctx, struct net_peer *peer)
{
    (void)ctx;
    (void)peer;
}

static void client_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct node *n = ctx;
    n->shares += sk_str_is(frame->type, "share");
    n->kept += sk_str_is(frame->type, "share_kept");
    n->recoveries += sk_str_is(frame->type, "recovery");
    if (n->keys) {
        keys_on_frame(n->keys, peer, frame);
    }
}

static void client_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)peer;
    (void)why;
}

static void on_opened(void *ctx)
{
    ((struct node *)ctx)->opened++;
}

static void on_send(void *ctx, const char *node, struct sk_str frame)
{
    struct node *n = ctx;
    if (n->client && node) {
        (void)net_client_send_to(n->client, node, frame, NULL);
    } else if (n->client) {
        (void)net_client_send_all(n->client, frame);
    }
}

static size_t on_members(void *ctx, struct sk_str ret[KEYS_MEMBERS_MAX])
{
    const struct node *n = ctx;
    for (size_t i = 0; i < n->members; i++) {
        ret[i] = sk_str(nodes[i].name);
    }
    return n->members;
}

static void ask(struct node *n, struct sk_str frame)
{
    on_send(n, NULL, frame);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void identity(struct node *n, enum net_cert_kind kind)
{
    struct net_issue issue = {.kind = kind, .node = n->name, .wall_ms = sys_wall_ms()};
    struct sk_buf key = SK_BUF_INIT, csr = SK_BUF_INIT, cert = SK_BUF_INIT;
    assert_int_equal(net_key_new(&key, NULL), 0);
    assert_int_equal(net_csr_new(sk_buf_str(&key), n->name, &csr, NULL), 0);
    assert_int_equal(net_ca_issue(ca, sk_buf_str(&csr), &issue, &cert, NULL, NULL), 0);
    assert_int_equal(net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_str(net_ca_pem(ca)),
                                       &n->identity, NULL),
                     0);
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
}

static void make_split(int owner)
{
    const char *members[3] = {nodes[owner].name, nodes[(owner + 1) % 3].name,
                              nodes[(owner + 2) % 3].name};
    struct vault *vault = NULL;
    struct vault_split split;
    struct seal_code code;
    assert_int_equal(vault_create(nodes[owner].dir, "coast", &code, &vault, NULL), 0);
    assert_int_equal(vault_put(vault, VAULT_CA_KEY, SK_STR("the CA's key"), NULL), 0);
    assert_int_equal(vault_split(vault, 3, &split, NULL), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(vault_held_put(nodes[(owner + i) % 3].dir, "coast", nodes[owner].name,
                                        sk_buf_str(&split.shares[i]), "", NULL),
                         0);
    }
    assert_int_equal(vault_split_commit(vault, &split, members, NULL), 0);
    vault_split_release(&split);
    vault_free(vault);
}

/* Three folders, each with a vault of its own that is split among all three. */
static int set_up(void **state)
{
    (void)state;
    memset(nodes, 0, sizeof(nodes));
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(top, sizeof(top), "/tmp/skerry-keys-XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_timer_init(&loop, &tick), 0);
    assert_int_equal(uv_timer_start(&tick, on_tick, 5, 5), 0);
    assert_int_equal(net_ca_new("coast", sys_wall_ms(), &ca, NULL), 0);
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(nodes[i].name, sizeof(nodes[i].name), "node-%d", i);
        (void)snprintf(nodes[i].dir, sizeof(nodes[i].dir), "%s/%d", top, i);
        assert_int_equal(mkdir(nodes[i].dir, 0700), 0);
        identity(&nodes[i], i == PLAIN ? NET_CERT_NODE : NET_CERT_CONTROL);
    }
    for (int i = 0; i < 3; i++) {
        make_split(i);
    }
    return 0;
}

static void start(int i)
{
    struct node *n = &nodes[i];
    struct keys_config config = {n->dir,    "coast", n->name, on_members,
                                 on_opened, on_send, n,       ASK_MS};
    struct net_channel_cfg cfg = {
        .identity = &n->identity, .incarnation = "i", .boot = "b", .version = "0.1.0"};
    struct net_callbacks callbacks = {n, server_up, server_frame, NULL, NULL, server_down, NULL};
    assert_int_equal(keys_new(&loop, &config, &n->keys, NULL), 0);
    assert_int_equal(net_server_new_any(&loop, &cfg, "127.0.0.1", &callbacks, &n->server, NULL), 0);
}

/* Its client to the servers that are there. */
static void connect_to(int i, unsigned servers)
{
    struct node *n = &nodes[i];
    struct net_channel_cfg cfg = {
        .identity = &n->identity, .incarnation = "i", .boot = "b", .version = "0.1.0"};
    struct net_callbacks callbacks = {n, client_up, client_frame, NULL, NULL, client_down, NULL};
    char text[NODES][64];
    const char *addresses[NODES];
    size_t count = 0;
    for (int k = 0; k < NODES; k++) {
        if (servers & (1U << k)) {
            (void)snprintf(text[k], sizeof(text[k]), "127.0.0.1:%u",
                           net_server_port(nodes[k].server));
            addresses[count++] = text[k];
        }
    }
    assert_int_equal(net_client_new(&loop, &cfg, &callbacks, &n->client, NULL), 0);
    assert_int_equal(net_client_set_addresses(n->client, addresses, count, NULL), 0);
}

static void until(const unsigned *counter, unsigned want)
{
    int64_t deadline = sys_now_ms() + PATIENCE_MS;
    while (*counter < want) {
        if (sys_now_ms() > deadline) {
            fail_msg("waited in vain for %u", want);
        }
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

static void run_for(int64_t ms)
{
    int64_t deadline = sys_now_ms() + ms;
    while (sys_now_ms() < deadline) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        net_client_free(nodes[i].client);
        net_server_free(nodes[i].server);
        keys_free(nodes[i].keys);
        net_identity_release(&nodes[i].identity);
        seal_wipe(&nodes[i].lie);
        assert_int_equal(vault_wipe(nodes[i].dir, NULL), 0);
        assert_int_equal(rmdir(nodes[i].dir), 0);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    net_ca_free(ca);
    return rmdir(top);
}

static void holds(int i)
{
    struct sk_buf out = SK_BUF_INIT;
    assert_true(keys_are_open(nodes[i].keys));
    assert_int_equal(vault_get(keys_vault(nodes[i].keys), VAULT_CA_KEY, &out, NULL), 0);
    assert_true(sk_str_is(sk_buf_str(&out), "the CA's key"));
    seal_wipe(&out);
}

static void all_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start(i);
        assert_false(keys_are_open(nodes[i].keys));
    }
    for (int i = 0; i < 3; i++) {
        connect_to(i, 7);
    }
    for (int i = 0; i < 3; i++) {
        until(&nodes[i].opened, 1);
        holds(i);
    }
    run_for(3 * ASK_MS); /* once, and nobody asks any more */
    unsigned asked = nodes[0].shares;
    run_for(3 * ASK_MS);
    assert_int_equal(nodes[0].shares, asked);
    assert_int_equal(nodes[0].opened, 1);
}

static void alone_it_waits(void **state)
{
    (void)state;
    start(0);
    connect_to(0, 1); /* to itself, as skerryd is: its own share counts once */
    run_for(5 * ASK_MS);
    assert_true(nodes[0].shares >= 1);
    assert_false(keys_are_open(nodes[0].keys));
    start(1);
    net_client_free(nodes[0].client);
    connect_to(0, 3);
    until(&nodes[0].opened, 1);
    holds(0);
    assert_false(keys_are_open(nodes[1].keys)); /* it serves while it waits itself */
}

static void nobody_else_gets_one(void **state)
{
    (void)state;
    start(0);
    start(1);
    connect_to(PLAIN, 3);
    for (int i = 0; i < 6; i++) {
        run_for(ASK_MS);
        ask(&nodes[PLAIN], SK_STR("{\"v\":1,\"type\":\"share_ask\"}"));
    }
    run_for(2 * ASK_MS);
    assert_int_equal(nodes[PLAIN].shares, 0);
    assert_int_equal(nodes[PLAIN].recoveries, 0);
    connect_to(1, 1); /* its positive twin, at the same servers */
    until(&nodes[1].opened, 1);
    for (int i = 0; i < 50; i++) { /* however often it asks */
        ask(&nodes[1], SK_STR("{\"v\":1,\"type\":\"share_ask\"}"));
    }
    unsigned before = nodes[1].shares;
    run_for(15);
    assert_true(nodes[1].shares - before <= 1);
}

/* One of three lies: nothing opens wrongly, and the two honest ones are enough. */
static void a_liar(void **state)
{
    static const char *const lies[] = {
        "{\"v\":1,\"type\":\"share\",\"shares\":[\"{}\",1,null]}",
        "{\"v\":1,\"type\":\"share\",\"shares\":\"x\"}",
        "{\"v\":1,\"type\":\"share\"}",
    };
    (void)state;
    start(0);
    start(1);
    start(2);
    nodes[2].lies = true;
    connect_to(0, 4);
    for (size_t i = 0; i < SK_ARRAY_LEN(lies); i++) {
        sk_buf_clear(&nodes[2].lie);
        sk_buf_adds(&nodes[2].lie, lies[i]);
        run_for(3 * ASK_MS);
        assert_false(keys_are_open(nodes[0].keys));
    }
    assert_true(nodes[0].shares >= 1);
    net_client_free(nodes[0].client);
    connect_to(0, 6);
    until(&nodes[0].opened, 1);
    holds(0);
}

static void another_code_reaches_all(void **state)
{
    struct seal_code code;
    struct vault_recovery mine, theirs;
    struct vault *again = NULL;
    (void)state;
    for (int i = 0; i < 3; i++) {
        start(i);
    }
    connect_to(0, 7);
    connect_to(1, 7);
    until(&nodes[0].opened, 1);
    until(&nodes[1].opened, 1);
    unsigned told = nodes[1].recoveries;
    assert_int_equal(keys_recovery_new(nodes[0].keys, &code, NULL), 0);
    until(&nodes[1].recoveries, told + 1);
    assert_int_equal(vault_recovery(nodes[0].dir, &mine, NULL), 0);
    assert_int_equal(vault_recovery(nodes[1].dir, &theirs, NULL), 0);
    assert_memory_equal(&mine.public_key, &theirs.public_key, sizeof(mine.public_key));
    assert_int_equal(vault_recover(nodes[1].dir, "coast", &code, &again, NULL), 0);
    vault_free(again);
    assert_int_equal(vault_recovery(nodes[2].dir, &theirs, NULL), 0);
    assert_memory_not_equal(&mine.public_key, &theirs.public_key, sizeof(mine.public_key));
    connect_to(2, 3); /* one that was away hears of it when it comes */
    until(&nodes[2].opened, 1);
    net_client_free(nodes[2].client);
    told = nodes[2].recoveries;
    connect_to(2, 1);
    until(&nodes[2].recoveries, told + 1);
    assert_int_equal(vault_recovery(nodes[2].dir, &theirs, NULL), 0);
    assert_memory_equal(&mine.public_key, &theirs.public_key, sizeof(mine.public_key));
    explicit_bzero(&code, sizeof(code));
}

static bool split_now(int i)
{
    unsigned shares = 0;
    unsigned needed = 0;
    bool split = keys_split(nodes[i].keys, &shares, &needed);

    assert_int_equal(shares, split ? 3 : 0);
    assert_int_equal(needed, split ? 2 : 0);
    return split;
}

static void until_form(int i, bool split)
{
    int64_t deadline = sys_now_ms() + PATIENCE_MS;
    while (split_now(i) != split) {
        assert_true(sys_now_ms() < deadline);
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

/* One that was alone becomes one of three, and is alone again; a member that is away holds it up.
 */
static void split_and_joined(void **state)
{
    struct seal_code code;
    struct vault *vault = NULL;
    (void)state;
    assert_int_equal(vault_wipe(nodes[0].dir, NULL), 0);
    assert_int_equal(vault_create(nodes[0].dir, "coast", &code, &vault, NULL), 0);
    assert_int_equal(vault_put(vault, VAULT_CA_KEY, SK_STR("the CA's key"), NULL), 0);
    vault_free(vault);
    start(0);
    start(1);
    holds(0);
    nodes[0].members = 1;
    connect_to(0, 3);
    run_for(5 * ASK_MS);
    assert_false(split_now(0));
    nodes[0].members = 2; /* only passed through */
    run_for(5 * ASK_MS);
    assert_false(split_now(0));
    nodes[0].members = 3;
    until(&nodes[0].kept, 1);
    run_for(5 * ASK_MS);
    assert_false(split_now(0)); /* the third has not got its share */
    start(2);
    net_client_free(nodes[0].client);
    connect_to(0, 7);
    until_form(0, true);
    run_for(10 * ASK_MS); /* and all hear that it is in force */
    net_client_free(nodes[0].client);
    nodes[0].client = NULL;
    net_server_free(nodes[0].server);
    keys_free(nodes[0].keys);
    nodes[0].members = 0;
    start(0); /* it starts again, with one of the others */
    assert_false(keys_are_open(nodes[0].keys));
    connect_to(0, 4);
    until(&nodes[0].opened, 1);
    holds(0);
    nodes[0].members = 1;
    until_form(0, false);
    nodes[0].members = 0;
    run_for(2 * ASK_MS);
    assert_false(split_now(0));
    explicit_bzero(&code, sizeof(code));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(all_at_once), T(alone_it_waits),           T(nobody_else_gets_one),
        T(a_liar),      T(another_code_reaches_all), T(split_and_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
