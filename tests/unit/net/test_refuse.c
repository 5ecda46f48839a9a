/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <openssl/ssl.h>
#include <time.h>

#include "net/tls.h"

/*
 * Everything that must not get in. Each case first shows its positive twin: the same peer, less the
 * fault, is let in by the same server.
 */
#define HOUR_MS (3600LL * 1000)
#define GOOD_HELLO \
    "{\"v\":1,\"type\":\"hello\",\"cluster\":\"coast\",\"node\":\"fra-1\",\"protocol\":[1,1]}"

static struct raw peer;

/* A well-behaved raw peer comes up. */
static void twin(struct world *w)
{
    unsigned ups = w->s.ups, downs = w->s.downs, refused = w->s.refused;
    size_t len;
    const char *bytes = fx_frame(GOOD_HELLO, &len);
    peer = (struct raw){.port = net_server_port(w->server), .tls = true, .id = &w->node};
    peer.bytes = bytes;
    peer.len = len;
    fx_raw_start(&peer);
    fx_until(w, &w->s.ups, ups + 1);
    net_peer_close(w->s.peer, NULL);
    fx_raw_end(w, &peer);
    fx_until(w, &w->s.downs, downs + 1);
    assert_int_equal(w->s.ups, ups + 1);
    assert_int_equal(w->s.refused, refused);
}

static void refuse(struct world *w, const char *line)
{
    unsigned ups = w->s.ups, refused = w->s.refused;
    fx_raw_start(&peer);
    fx_raw_end(w, &peer);
    fx_until(w, &w->s.refused, refused + 1);
    if (!strstr(w->s.note.msg, line)) {
        fail_msg("'%s' is not in '%s'", line, w->s.note.msg);
    }
    assert_int_equal(w->s.ups, ups);
    assert_true(strncmp(w->s.note_address, "127.0.0.1:", 10) == 0);
}

static void refuse_id(struct world *w, const struct net_identity *id, const char *line)
{
    size_t len;
    const char *bytes = fx_frame(GOOD_HELLO, &len);
    peer = (struct raw){
        .port = net_server_port(w->server), .tls = true, .id = id, .bytes = bytes, .len = len};
    refuse(w, line);
}

static void refuse_frame(struct world *w, const struct net_identity *id, const char *json,
                         const char *line)
{
    size_t len;
    const char *bytes = fx_frame(json, &len);
    peer = (struct raw){
        .port = net_server_port(w->server), .tls = true, .id = id, .bytes = bytes, .len = len};
    refuse(w, line);
}

static void plaintext_and_garbage(void **state)
{
    struct world *w = fx_new();
    char junk[600];
    (void)state;
    fx_server(w);
    twin(w);
    peer = (struct raw){.port = net_server_port(w->server),
                        .bytes = "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                        .len = 27};
    refuse(w, "TLS 1.3: http request");
    assert_null(strstr(peer.reply, "hub-1"));
    memset(junk, 0xa5, sizeof(junk));
    peer = (struct raw){.port = net_server_port(w->server), .bytes = junk, .len = sizeof(junk)};
    refuse(w, "TLS 1.3: ");
    peer = (struct raw){.port = net_server_port(w->server),
                        .bytes = "\x16\x03\x01\x02\x00\x01",
                        .len = 6,
                        .hang_up = true};
    refuse(w, "ended in the TLS handshake");
    fx_free(w);
}

static void old_tls(void **state)
{
    struct world *w = fx_new();
    (void)state;
    fx_server(w);
    twin(w);
    peer = (struct raw){
        .port = net_server_port(w->server), .tls = true, .id = &w->node, .tls_max = TLS1_2_VERSION};
    refuse(w, "unsupported protocol");
    assert_false(peer.shaken);
    fx_free(w);
}

static void no_certificate(void **state)
{
    struct world *w = fx_new();
    (void)state;
    fx_server(w);
    twin(w);
    refuse_frame(w, NULL, GOOD_HELLO, "a peer without certificate may only join, not 'hello'");
    assert_non_null(strstr(peer.reply + 4, "\"unauthenticated\""));
    w->scb.on_join = NULL;
    net_server_free(w->server);
    fx_server(w);
    refuse_frame(w, NULL, "{\"v\":1,\"type\":\"join\"}", "takes no joins");
    fx_free(w);
}

static void foreign_authority(void **state)
{
    struct world *w = fx_new();
    struct net_ca *other = NULL;
    struct net_identity id = {0};
    (void)state;
    fx_server(w);
    twin(w);
    assert_int_equal(net_ca_new("coast", sys_wall_ms(), &other, NULL), 0);
    fx_identity(other, NET_CERT_NODE, "fra-1", sys_wall_ms(), 0, &id);
    refuse_id(w, &id, "the certificate is refused: ");
    /* and the other way round: a client of the foreign cluster refuses this server */
    fx_client(w, &id, (struct net_channel_cfg){0});
    fx_until(w, &w->c.refused, 1);
    assert_non_null(strstr(w->c.note.msg, "the certificate is refused: "));
    assert_int_equal(w->c.ups, 0);
    net_identity_release(&id);
    net_ca_free(other);
    fx_free(w);
}

static void out_of_time(void **state)
{
    struct world *w = fx_new();
    struct net_identity id = {0};
    (void)state;
    fx_server(w);
    twin(w);
    fx_identity(w->ca, NET_CERT_NODE, "fra-1", sys_wall_ms() - 2 * HOUR_MS, HOUR_MS, &id);
    refuse_id(w, &id, "certificate has expired");
    net_identity_release(&id);
    fx_identity(w->ca, NET_CERT_NODE, "fra-1", sys_wall_ms() + HOUR_MS, HOUR_MS, &id);
    refuse_id(w, &id, "certificate is not yet valid");
    net_identity_release(&id);
    /* a clock four minutes behind is forgiven */
    fx_identity(w->ca, NET_CERT_NODE, "fra-1", sys_wall_ms() + 4 * 60 * 1000, HOUR_MS, &id);
    fx_client(w, &id, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 2);
    net_identity_release(&id);
    fx_free(w);
}

static void expires_while_connected(void **state)
{
    struct world *w = fx_new();
    struct net_identity id = {0};
    (void)state;
    w->cfg.handshake_ms = 1000; /* sweeps every 250 ms */
    fx_server(w);
    fx_identity(w->ca, NET_CERT_NODE, "fra-1", sys_wall_ms(), 1500, &id);
    fx_client(w, &id, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->s.downs, 1);
    assert_string_equal(w->s.why.msg, "the certificate of node 'fra-1' has expired");
    fx_until(w, &w->s.refused, 1); /* and its ticket does not bring it back */
    assert_int_equal(w->s.ups, 1);
    net_identity_release(&id);
    fx_free(w);
}

static void revoked(void **state)
{
    struct world *w = fx_new();
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->c.ups, 1);
    fx_until(w, &w->s.ups, 1);
    assert_int_equal(net_server_recheck(w->server), 0);
    net_revoked_add_serial(w->revoked, sk_str(w->node.info.serial));
    assert_int_equal(net_server_recheck(w->server), 1);
    fx_until(w, &w->s.downs, 1);
    assert_non_null(strstr(w->s.why.msg, "the certificate of node 'fra-1' is revoked"));
    fx_until(w, &w->c.downs, 1);
    assert_non_null(strstr(w->c.why.msg, "revoked"));
    /* it comes back with its ticket (no new verification by OpenSSL), and then in full */
    fx_until(w, &w->s.refused, 2);
    assert_non_null(strstr(w->s.note.msg, "revoked"));
    assert_int_equal(w->s.ups, 1);
    net_client_free(w->client);
    w->client = NULL;
    refuse_id(w, &w->node, "the certificate of node 'fra-1' is revoked");
    net_revoked_clear(w->revoked);
    twin(w);
    net_revoked_add_node(w->revoked, SK_STR("fra-1"), sys_wall_ms());
    refuse_id(w, &w->node, "is revoked");
    fx_free(w);
}

static void closed_by_name(void **state)
{
    struct world *w = fx_new();
    struct sk_err why = {.code = SK_ERR_DENIED, .msg = "node 'fra-1' was removed"};
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    fx_until(w, &w->c.ups, 1);
    assert_int_equal(net_server_close_node(w->server, SK_STR("ams-1"), &why), 0);
    assert_int_equal(net_server_close_node(w->server, SK_STR("fra-1"), &why), 1);
    assert_int_equal(w->s.downs, 0); /* never from inside the call */
    fx_until(w, &w->s.downs, 1);
    fx_until(w, &w->c.downs, 1);
    assert_int_equal(w->c.why.code, SK_ERR_DENIED);
    assert_non_null(strstr(w->c.why.msg, "was removed"));
    fx_free(w);
}

static void wrong_names(void **state)
{
    struct world *w = fx_new();
    struct net_identity api = {0};
    struct net_tls_want want = {.cluster = "coast"};
    struct net_cert_info info;
    struct sk_err err = {0};
    (void)state;
    fx_server(w);
    twin(w);
    refuse_frame(
        w, &w->node,
        "{\"v\":1,\"type\":\"hello\",\"cluster\":\"reef\",\"node\":\"fra-1\",\"protocol\":[1,1]}",
        "hello of 'fra-1' in 'reef' with the certificate of 'fra-1' in 'coast'");
    refuse_frame(
        w, &w->node,
        "{\"v\":1,\"type\":\"hello\",\"cluster\":\"coast\",\"node\":\"hub-1\",\"protocol\":[1,1]}",
        "hello of 'hub-1'");
    fx_identity(w->ca, NET_CERT_API, "hub-1", sys_wall_ms(), 0, &api);
    refuse_id(w, &api, "refused"); /* it is no client certificate, to begin with */
    info = w->node.info;
    assert_int_equal(net_tls_check_info(&info, &want, &err), 0);
    info.issued_ms += 3600000; /* our clock was set back while it was connected */
    assert_int_equal(net_tls_check_info(&info, &want, &err), 0);
    assert_int_equal(net_tls_check_info(&api.info, &want, &err), SK_ERR_UNAUTHENTICATED);
    want.cluster = "reef";
    assert_int_equal(net_tls_check_info(&info, &want, &err), SK_ERR_UNAUTHENTICATED);
    assert_non_null(strstr(err.msg, "node 'fra-1' is of cluster 'coast', not of 'reef'"));
    net_identity_release(&api);
    fx_free(w);
}

static void a_node_that_poses_as_control(void **state)
{
    struct world *w = fx_new();
    struct net_identity stolen = {0};
    (void)state;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->c.ups, 1);
    net_client_free(w->client);
    net_server_free(w->server);
    fx_identity(w->ca, NET_CERT_NODE, "ams-1", sys_wall_ms(), 0, &stolen);
    w->cfg.identity = &stolen;
    fx_server(w);
    w->c.refused = 0;
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->c.refused, 1);
    assert_string_equal(w->c.note.msg, "node 'ams-1' is not a control node");
    assert_int_equal(w->c.ups, 1);
    net_identity_release(&stolen);
    fx_free(w);
}

static void frames_that_break_the_rules(void **state)
{
    static const struct {
        const char *json, *line;
    } rows[] = {
        {"{\"v\":1,\"type\":\"beat\"}", "the first frame is 'beat', not 'hello'"},
        {"{\"v\":1,\"type\":\"hello\"}", "'protocol' is not [min, max]"},
        {"{\"v\":1,\"type\":\"hello\",\"protocol\":[1]}", "'protocol' is not [min, max]"},
        {"{\"v\":1,\"type\":\"hello\",\"protocol\":[2,1]}", "'protocol' is not [min, max]"},
        {"{\"v\":1,\"type\":\"hello\",\"protocol\":[1,1]}", "a name is missing"},
        {"{\"type\":\"hello\"}", "not an object with \"v\":1"},
        {"{\"v\":1}", "a frame without a type"},
        {"[1]", "not an object"},
        {"{\"v\":1,", "frame:1:"},
        {"\xff\xfe\xfd", "frame:1:"},
    };
    struct world *w = fx_new();
    (void)state;
    fx_server(w);
    twin(w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        w->s.note.msg[0] = '\0';
        refuse_frame(w, &w->node, rows[i].json, rows[i].line);
        assert_int_equal(w->s.note.code, SK_ERR_PROTOCOL);
    }
    fx_free(w);
}

static void sizes(void **state)
{
    struct world *w = fx_new();
    static char join[NET_FRAME_JOIN_BYTES_MAX + 5];
    (void)state;
    fx_server(w);
    twin(w);
    peer = (struct raw){.port = net_server_port(w->server), .tls = true, .id = &w->node};
    peer.bytes = "\x00\x10\x00\x01";
    peer.len = 4;
    refuse(w, "a frame of 1048577 bytes, where 1048576 are allowed");
    peer.bytes = "\xff\xff\xff\xff";
    refuse(w, "a frame of 4294967295 bytes");
    peer.bytes = "\0\0\0\0";
    refuse(w, "a frame of no bytes");
    peer.bytes = "\0\0\0\x40{\"v\":1";
    peer.len = 10;
    peer.half_close = true;
    refuse(w, "the stream ended inside a frame");
    peer.bytes = "\0";
    peer.len = 1;
    refuse(w, "the stream ended inside a frame");
    /* without a certificate: 16 KiB pass, one byte more does not */
    memset(join, ' ', sizeof(join));
    memcpy(join, "\0\0\x40\x00{\"v\":1,\"type\":\"join\"}", 25);
    peer = (struct raw){.port = net_server_port(w->server), .tls = true};
    peer.bytes = join;
    peer.len = NET_FRAME_JOIN_BYTES_MAX + 4;
    fx_raw_start(&peer);
    fx_until(w, &w->s.joins, 1);
    assert_true(w->s.info.joining);
    net_peer_close(w->s.peer, NULL);
    fx_raw_end(w, &peer);
    memcpy(join, "\0\0\x40\x01", 4);
    peer.len++;
    refuse(w, "a frame of 16385 bytes, where 16384 are allowed");
    fx_free(w);
}

static void broken_after_hello(void **state)
{
    struct world *w = fx_new();
    char bytes[400];
    size_t len, more;
    (void)state;
    fx_server(w);
    twin(w);
    memcpy(bytes, fx_frame(GOOD_HELLO, &len), sizeof(bytes));
    memcpy(bytes + len, fx_frame("not json", &more), 20);
    peer = (struct raw){.port = net_server_port(w->server), .tls = true, .id = &w->node};
    peer.bytes = bytes;
    peer.len = len + more;
    w->s.downs = w->s.ups = 0;
    fx_raw_start(&peer);
    fx_raw_end(w, &peer);
    fx_until(w, &w->s.downs, 1);
    assert_int_equal(w->s.ups, 1);
    assert_int_equal(w->s.why.code, SK_ERR_PROTOCOL);
    assert_int_equal(w->s.frames, 0);
    fx_free(w);
}

static void other_protocol_version(void **state)
{
    struct world *w = fx_new();
    (void)state;
    w->cfg.protocol_min = 2;
    w->cfg.protocol_max = 3;
    fx_server(w);
    fx_client(w, &w->node, (struct net_channel_cfg){.protocol_min = 1, .protocol_max = 2});
    fx_until(w, &w->c.ups, 1);
    fx_until(w, &w->s.ups, 1);
    assert_int_equal(w->s.info.protocol, 2);
    assert_int_equal(w->c.info.protocol, 2);
    net_client_free(w->client);
    fx_client(w, &w->node, (struct net_channel_cfg){.protocol_min = 1, .protocol_max = 1});
    fx_until(w, &w->s.refused, 1);
    fx_until(w, &w->c.refused, 1);
    /* either side has the same clear line, whichever found it first */
    assert_non_null(strstr(w->s.note.msg, "speaks protocol"));
    assert_non_null(strstr(w->c.note.msg, "speaks protocol"));
    assert_int_equal(w->s.note.code, SK_ERR_PROTOCOL);
    assert_string_equal(w->s.note.fix, "upgrade skerry on 'fra-1'");
    assert_string_equal(w->c.note.fix, "upgrade skerry on 'fra-1'");
    fx_free(w);
}

static void slow_ones(void **state)
{
    struct world *w = fx_new();
    (void)state;
    w->cfg.handshake_ms = 250;
    fx_server(w);
    twin(w);
    peer = (struct raw){.port = net_server_port(w->server)}; /* says nothing at all */
    refuse(w, "no complete TLS handshake within 250 ms");
    assert_int_equal(w->s.note.code, SK_ERR_TIMEOUT);
    peer.bytes = "\x16\x03\x01\x02"; /* begins a ClientHello and stops */
    peer.len = 4;
    refuse(w, "no complete TLS handshake within 250 ms");
    peer = (struct raw){.port = net_server_port(w->server), .tls = true, .id = &w->node};
    refuse(w, "no complete hello within 250 ms");
    peer.id = NULL;
    refuse(w, "no complete join within 250 ms");
    twin(w);
    fx_free(w);
}

static void a_server_that_stays_silent(void **state)
{
    struct world *w = fx_new();
    struct net_channel_cfg cfg = {.identity = &w->node, .handshake_ms = 250};
    uv_tcp_t deaf;
    struct sockaddr_in sa;
    char address[64];
    const char *addresses[] = {address};
    int len = sizeof(sa);
    (void)state;
    /* a bound and listening socket whose connections nobody accepts */
    assert_int_equal(uv_tcp_init(&w->loop, &deaf), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &sa), 0);
    assert_int_equal(uv_tcp_bind(&deaf, (struct sockaddr *)&sa, 0), 0);
    assert_int_equal(uv_tcp_getsockname(&deaf, (struct sockaddr *)&sa, &len), 0);
    {
        uv_os_fd_t fd;
        assert_int_equal(uv_fileno((uv_handle_t *)&deaf, &fd), 0);
        assert_int_equal(listen(fd, 5), 0);
    }
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
    assert_int_equal(net_client_new(&w->loop, &cfg, &w->ccb, &w->client, NULL), 0);
    assert_int_equal(net_client_set_addresses(w->client, addresses, 1, NULL), 0);
    fx_until(w, &w->c.refused, 2); /* gives up, and tries again */
    assert_int_equal(w->c.note.code, SK_ERR_TIMEOUT);
    uv_close((uv_handle_t *)&deaf, NULL);
    fx_free(w);
}

static void more_than_allowed(void **state)
{
    struct world *w = fx_new();
    struct raw holds[2];
    (void)state;
    w->cfg.strangers_max = 2;
    w->cfg.handshake_ms = 2000;
    fx_server(w);
    twin(w);
    for (int i = 0; i < 2; i++) {
        holds[i] = (struct raw){.port = net_server_port(w->server)};
        fx_raw_start(&holds[i]);
    }
    while (net_server_count(w->server) < 2) {
        fx_for(w, 10);
    }
    peer = (struct raw){.port = net_server_port(w->server), .tls = true, .id = &w->node};
    refuse(w, "more unverified connections from one address than allowed: 2");
    for (int i = 0; i < 2; i++) {
        fx_raw_end(w, &holds[i]);
    }
    fx_until(w, &w->s.refused, 3); /* a holder sees its end before the server has told of it */
    twin(w);                       /* room again */
    net_server_free(w->server);
    w->cfg.strangers_max = 0;
    w->cfg.source_max = 1;
    fx_server(w);
    w->s.ups = 0;
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    peer.port = net_server_port(w->server);
    refuse(w, "more connections from one address than allowed: 1");
    net_client_free(w->client);
    w->client = NULL;
    net_server_free(w->server);
    w->cfg.source_max = 0;
    w->cfg.peers_max = 1;
    fx_server(w);
    w->s.ups = 0;
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_until(w, &w->s.ups, 1);
    peer.port = net_server_port(w->server);
    refuse(w, "more connections than allowed: 1");
    assert_non_null(w->s.peer); /* the one inside is not disturbed */
    fx_free(w);
}

/* Only so many handshakes at a time; the others wait in line. Who holds a connection and says
 * nothing does not keep them there. */
static void handshakes_in_line(void **state)
{
    struct world *w = fx_new();
    struct raw holds[2];
    int64_t begun_ms;
    (void)state;
    w->cfg.handshakes_max = 2;
    w->cfg.handshake_ms = 4000;
    fx_server(w);
    for (int i = 0; i < 2; i++) {
        holds[i] = (struct raw){.port = net_server_port(w->server)};
        fx_raw_start(&holds[i]);
    }
    while (net_server_count(w->server) < 2) {
        fx_for(w, 10);
    }
    begun_ms = sys_now_ms();
    fx_client(w, &w->node, (struct net_channel_cfg){0});
    fx_for(w, 200);
    assert_int_equal(net_server_count(w->server), 2);
    assert_int_equal(w->s.ups, 0);
    fx_until(w, &w->s.ups, 1);
    assert_true(sys_now_ms() - begun_ms < 3000);
    for (int i = 0; i < 2; i++) {
        fx_raw_end(w, &holds[i]);
    }
    w->cfg.handshakes_max = 1; /* the next comes in when the one before is through */
    net_client_free(w->client);
    w->client = NULL;
    net_server_free(w->server);
    fx_server(w);
    for (unsigned i = 0; i < 5; i++) {
        begun_ms = sys_now_ms();
        twin(w);
        assert_true(sys_now_ms() - begun_ms < 500);
    }
    fx_free(w);
}

static void notes_are_limited(void **state)
{
    struct world *w = fx_new();
    (void)state;
    fx_server(w);
    twin(w);
    w->s.refused = 0;
    for (int i = 0; i < 60; i++) {
        peer = (struct raw){
            .port = net_server_port(w->server), .bytes = "x", .len = 1, .hang_up = true};
        fx_raw_start(&peer);
        fx_raw_end(w, &peer);
    }
    fx_for(w, 50);
    assert_in_range(w->s.refused, 1, 41); /* 20 in each of the seconds that it touched */
    fx_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plaintext_and_garbage),
        cmocka_unit_test(old_tls),
        cmocka_unit_test(no_certificate),
        cmocka_unit_test(foreign_authority),
        cmocka_unit_test(out_of_time),
        cmocka_unit_test(expires_while_connected),
        cmocka_unit_test(revoked),
        cmocka_unit_test(closed_by_name),
        cmocka_unit_test(wrong_names),
        cmocka_unit_test(a_node_that_poses_as_control),
        cmocka_unit_test(frames_that_break_the_rules),
        cmocka_unit_test(sizes),
        cmocka_unit_test(broken_after_hello),
        cmocka_unit_test(other_protocol_version),
        cmocka_unit_test(slow_ones),
        cmocka_unit_test(a_server_that_stays_silent),
        cmocka_unit_test(more_than_allowed),
        cmocka_unit_test(handshakes_in_line),
        cmocka_unit_test(notes_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
