/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/json.h"
#include "base/version.h"

/* The channel as it is meant to be used. */

static void hello_and_frames_both_ways(void **state)
{
    struct world *w = fx_new();
    struct net_channel_cfg cfg = {.incarnation = "i-7", .boot = "b-7", .version = "0.1.0+x"};
    struct sk_err err = {0};
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, cfg);
    fx_until(w, &w->c.ups, 1);
    fx_until(w, &w->s.ups, 1);
    assert_string_equal(w->s.info.cert.node, "fra-1");
    assert_string_equal(w->s.info.cert.cluster, "coast");
    assert_string_equal(w->s.info.cert.serial, w->node.info.serial);
    assert_int_equal(w->s.info.cert.kind, NET_CERT_NODE);
    assert_string_equal(w->s.info.incarnation, "i-7");
    assert_string_equal(w->s.info.boot, "b-7");
    assert_string_equal(w->s.info.version, "0.1.0+x");
    assert_int_equal(w->s.info.protocol, sk_protocol_max());
    assert_false(w->s.info.joining);
    assert_int_equal(w->c.info.cert.kind, NET_CERT_CONTROL);
    assert_string_equal(w->c.info.cert.node, "hub-1");
    assert_int_equal(net_client_up(w->client), 1);
    assert_ptr_equal(net_server_find(w->server, SK_STR("fra-1")), w->s.peer);
    assert_null(net_server_find(w->server, SK_STR("fra-2")));

    /* unknown fields arrive, in the tree's bytes */
    assert_int_equal(
        net_client_send_all(w->client, SK_STR("{\"v\":1,\"type\":\"beat\",\"new\":[1,{}]}")), 1);
    fx_until(w, &w->s.frames, 1);
    assert_string_equal(w->s.type, "beat");
    assert_string_equal(w->s.bytes, "{\"v\":1,\"type\":\"beat\",\"new\":[1,{}]}");
    assert_int_equal(net_send(w->s.peer, SK_STR("{\"v\":1,\"type\":\"assign\"}"), &err), 0);
    fx_until(w, &w->c.frames, 1);
    assert_string_equal(w->c.type, "assign");

    net_peer_set_data(w->s.peer, w);
    assert_ptr_equal(net_peer_data(w->s.peer), w);
    assert_int_equal(w->s.refused + w->c.refused + w->s.downs + w->c.downs, 0);
    fx_free(w);
}

static char *big_frame(size_t size)
{
    static const char head[] = "{\"v\":1,\"type\":\"big\",\"x\":\"";
    char *json = sk_xmalloc(size + 1);
    memset(json, 'x', size);
    memcpy(json, head, sizeof(head) - 1);
    memcpy(json + size - 2, "\"}", 3);
    return json;
}

static void the_largest_frame_passes(void **state)
{
    struct world *w = fx_new();
    struct sk_err err = {0};
    char *json = big_frame(NET_FRAME_BYTES_MAX);
    char *over = big_frame(NET_FRAME_BYTES_MAX + 1);
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->c.ups, 1);
    assert_int_equal(net_send(w->c.peer, sk_str(json), &err), 0);
    fx_until(w, &w->s.frames, 1);
    assert_string_equal(w->s.type, "big");
    assert_int_equal(net_send(w->c.peer, sk_str(over), &err), SK_ERR_LIMIT);
    assert_int_equal(net_send(w->c.peer, SK_STR("{\"v\":1,\"type\":\"after\"}"), &err), 0);
    fx_until(w, &w->s.frames, 2);
    assert_string_equal(w->s.type, "after");
    free(json);
    free(over);
    fx_free(w);
}

static void a_full_queue_says_so_and_drains(void **state)
{
    struct world *w = fx_new();
    struct sk_err err = {0};
    char *json = big_frame(600 * 1024);
    unsigned sent = 0;
    int rc;
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->c.ups, 1);
    /* the loop does not run meanwhile: nobody reads */
    while ((rc = net_send(w->c.peer, sk_str(json), &err)) == 0) {
        sent++;
        assert_true(sent < 200);
    }
    assert_int_equal(rc, SK_ERR_UNAVAILABLE);
    assert_true(net_peer_queued(w->c.peer) <= 3 * NET_FRAME_BYTES_MAX);
    assert_int_equal(w->c.drains, 0);
    fx_until(w, &w->c.drains, 1);
    assert_int_equal(net_send(w->c.peer, sk_str(json), &err), 0);
    fx_until(w, &w->s.frames, sent + 1); /* none lost */
    assert_int_equal(w->c.drains, 1);
    free(json);
    fx_free(w);
}

static void it_comes_back_and_resumes(void **state)
{
    struct world *w = fx_new();
    struct sk_err why = {.code = SK_ERR_UNAVAILABLE, .msg = "going down"};
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->c.ups, 1);
    fx_until(w, &w->s.ups, 1);
    assert_false(w->s.info.resumed);
    for (unsigned n = 2; n <= 4; n++) {
        net_peer_close(w->s.peer, &why);
        assert_int_equal(net_send(w->s.peer, SK_STR("{\"v\":1,\"type\":\"x\"}"), NULL),
                         SK_ERR_UNAVAILABLE);
        fx_until(w, &w->c.ups, n);
        fx_until(w, &w->s.ups, n);
        assert_true(w->c.info.resumed);
        assert_true(w->s.info.resumed);
        assert_string_equal(w->s.info.cert.node, "fra-1"); /* from the ticket's certificate */
        assert_string_equal(w->c.why.msg, "the other side says: going down");
    }
    assert_int_equal(w->s.downs, 3);
    assert_int_equal(w->c.downs, 3);
    fx_free(w);
}

static void the_newer_connection_of_a_node_wins(void **state)
{
    struct world *w = fx_new();
    struct net_client *first;
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    first = w->client;
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 2);
    assert_int_equal(w->s.downs, 1); /* told before the new one came up */
    assert_int_equal(w->s.why.code, SK_ERR_CONFLICT);
    assert_non_null(strstr(w->s.why.msg, "newer connection of node 'fra-1'"));
    assert_ptr_equal(net_server_find(w->server, SK_STR("fra-1")), w->s.peer);
    net_client_free(first);
    fx_free(w);
}

static void quiet_peers_stay(void **state)
{
    struct world *w = fx_new();
    (void)state;
    w->cfg.idle_ms = 200;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){.idle_ms = 200});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->c.ups, 1);
    fx_for(w, 900); /* four times idle_ms: pings keep it, and are not handed up */
    assert_int_equal(w->s.downs + w->c.downs + w->s.frames + w->c.frames, 0);
    fx_free(w);
}

static void silent_peers_are_dropped(void **state)
{
    struct world *w = fx_new();
    (void)state;
    w->cfg.idle_ms = 200;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){.idle_ms = 60000}); /* pings too late */
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->s.downs, 1);
    assert_int_equal(w->s.why.code, SK_ERR_TIMEOUT);
    assert_non_null(strstr(w->s.why.msg, "nothing heard from 'fra-1'"));
    fx_free(w);
}

static void retries_back_off(void **state)
{
    struct world *w = fx_new();
    const char *addresses[] = {"127.0.0.1:1", "localhost:1"};
    struct net_channel_cfg cfg = {.identity = &w->node};
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(net_client_new(&w->loop, &cfg, &w->ccb, &w->client, &err), 0);
    assert_int_equal(net_client_set_addresses(w->client, addresses, 1, &err), 0);
    fx_for(w, 1000);
    /* at 0, ~100, ~300, ~700 (each less up to a half): not a storm, not a stand-still */
    assert_in_range(w->c.refused, 3, 7);
    assert_non_null(strstr(w->c.note.msg, "connection refused"));
    assert_string_equal(w->c.note_address, "127.0.0.1:1");
    assert_int_equal(net_client_set_addresses(w->client, addresses + 1, 1, &err), 0);
    w->c.refused = 0;
    fx_until(w, &w->c.refused, 1); /* names are looked up */
    assert_string_equal(w->c.note_address, "localhost:1");
    addresses[0] = "not an address";
    assert_int_equal(net_client_set_addresses(w->client, addresses, 2, &err), SK_ERR_INPUT);
    assert_int_equal(net_client_set_addresses(w->client, NULL, 0, &err), 0);
    fx_for(w, 50);
    w->c.refused = 0;
    fx_for(w, 300);
    assert_int_equal(w->c.refused, 0);
    fx_free(w);
}

static void addresses_come_and_go(void **state)
{
    struct world *w = fx_new();
    struct side other = {.world = w};
    struct net_callbacks ocb = w->scb;
    struct net_server *second = NULL;
    char a[64], b[64];
    const char *both[] = {a, b, a};
    struct sk_err err = {0};
    (void)state;
    ocb.ctx = &other;
    fx_server(w);
    assert_int_equal(net_server_new_any(&w->loop, &w->cfg, "127.0.0.1", &ocb, &second, &err), 0);
    (void)snprintf(a, sizeof(a), "127.0.0.1:%u", net_server_port(w->server));
    (void)snprintf(b, sizeof(b), "127.0.0.1:%u", net_server_port(second));
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    assert_int_equal(net_client_set_addresses(w->client, both, 3, &err), 0);
    fx_until(w, &other.ups, 1);
    fx_until(w, &w->c.ups, 2);
    assert_int_equal(net_client_send_all(w->client, SK_STR("{\"v\":1,\"type\":\"beat\"}")), 2);
    fx_until(w, &other.frames, 1);
    fx_until(w, &w->s.frames, 1);
    assert_int_equal(net_client_set_addresses(w->client, both + 1, 1, &err), 0);
    fx_until(w, &w->s.downs, 1);
    assert_int_equal(other.downs, 0);
    assert_int_equal(w->s.ups, 1);
    net_server_free(second);
    fx_free(w);
}

static void listening_twice_is_one_clear_error(void **state)
{
    struct world *w = fx_new();
    struct net_server *second = NULL;
    char a[64];
    struct sk_err err = {0};
    (void)state;
    fx_server(w);
    (void)snprintf(a, sizeof(a), "127.0.0.1:%u", net_server_port(w->server));
    assert_int_equal(net_server_new(&w->loop, &w->cfg, a, &w->scb, &second, &err), SK_ERR_IO);
    assert_non_null(strstr(err.msg, a));
    assert_non_null(strstr(err.msg, "address already in use"));
    assert_null(second);
    fx_free(w);
}

static void renewal_over_the_channel(void **state)
{
    struct world *w = fx_new();
    struct net_identity next = {0}, other = {0};
    struct net_issue issue = {.kind = NET_CERT_NODE, .node = "fra-1"};
    struct sk_buf json = SK_BUF_INIT, cert = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    struct net_frame frame;
    struct net_cert_info info;
    struct sk_jw jw;
    struct sk_err err = {0};
    struct sk_err why = {.code = SK_ERR_UNAVAILABLE, .msg = "again"};
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->c.ups, 1);
    assert_int_equal(net_renew_request(&w->node, &json, &err), 0);
    assert_int_equal(net_send(w->c.peer, sk_buf_str(&json), &err), 0);
    fx_until(w, &w->s.frames, 1);
    assert_int_equal(net_frame_parse(sk_str(w->s.bytes), arena, &frame, &err), 0);
    sk_buf_clear(&json);
    issue.wall_ms = sys_wall_ms();
    assert_int_equal(
        net_ca_issue(w->ca, sk_map_str(frame.tree, "csr", SK_STR_NULL), &issue, &cert, &info, &err),
        0);
    sk_jw_init(&jw, &json);
    sk_jw_obj(&jw);
    sk_jw_kint(&jw, "v", 1);
    sk_jw_kcstr(&jw, "type", "renewed");
    sk_jw_kstr(&jw, "cert", sk_buf_str(&cert));
    sk_jw_obj_end(&jw);
    assert_string_equal(info.node, "fra-1");
    assert_int_equal(info.kind, NET_CERT_NODE);
    assert_int_equal(net_send(w->s.peer, sk_buf_str(&json), &err), 0);
    fx_until(w, &w->c.frames, 1);
    assert_int_equal(net_frame_parse(sk_str(w->c.bytes), arena, &frame, &err), 0);
    assert_int_equal(net_renew_finish(&w->node, &frame, &next, &err), 0);
    assert_string_equal(next.info.serial, info.serial);
    assert_string_not_equal(next.info.serial, w->node.info.serial);
    /* an answer for somebody else is not taken */
    assert_int_equal(net_renew_finish(&w->control, &frame, &other, &err), SK_ERR_INPUT);
    /* the next connection uses it */
    assert_int_equal(net_client_set_identity(w->client, &w->control, &err), SK_ERR_INPUT);
    assert_int_equal(net_client_set_identity(w->client, &next, &err), 0);
    assert_int_equal(net_server_set_identity(w->server, &w->control, &err), 0);
    net_peer_close(w->s.peer, &why);
    fx_until(w, &w->s.ups, 2);
    assert_string_equal(w->s.info.cert.serial, info.serial);
    assert_false(w->s.info.resumed);
    net_identity_release(&next);
    sk_buf_release(&json);
    sk_buf_release(&cert);
    sk_arena_free(arena);
    fx_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_and_frames_both_ways),
        cmocka_unit_test(the_largest_frame_passes),
        cmocka_unit_test(a_full_queue_says_so_and_drains),
        cmocka_unit_test(it_comes_back_and_resumes),
        cmocka_unit_test(the_newer_connection_of_a_node_wins),
        cmocka_unit_test(quiet_peers_stay),
        cmocka_unit_test(silent_peers_are_dropped),
        cmocka_unit_test(retries_back_off),
        cmocka_unit_test(addresses_come_and_go),
        cmocka_unit_test(listening_twice_is_one_clear_error),
        cmocka_unit_test(renewal_over_the_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
