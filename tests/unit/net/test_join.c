/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "sys/file.h"

/* Joining: the newcomer on its own thread, as the command line does it; the server answers from its
 * token records as control would. */

enum fault {
    NONE,
    FOREIGN_CA,
    OTHER_NODE,
    JUNK_CERT,
    NOT_JOINED,
    HANG_UP,
    SILENT,
    SENT_ON,
    SENT_ROUND
};

struct joining {
    struct world *w;
    struct net_token token;
    char hash[SK_SHA256_HEX]; /* of the one good token */
    int64_t expires_ms;       /* wall clock */
    bool used;
    enum fault fault;
    struct net_ca *other;
    unsigned asked;
    /* the newcomer's side */
    char dir[64];
    char address[64];
    struct net_join join;
    struct net_joined joined;
    struct sk_err err;
    int rc;
    unsigned done;
};

static void refuse(struct net_peer *peer, const char *text)
{
    struct sk_err why = {0};
    (void)sk_err_set(&why, SK_ERR_DENIED, "%s", text);
    net_peer_close(peer, &why);
}

static void answer(struct joining *j, struct net_peer *peer, const struct net_frame *frame)
{
    struct net_ca *ca = j->fault == FOREIGN_CA ? j->other : j->w->ca;
    struct net_issue issue = {.node = j->fault == OTHER_NODE ? "ams-9" : "fra-2",
                              .wall_ms = sys_wall_ms()};
    struct sk_buf cert = SK_BUF_INIT, json = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_jw w;
    assert_int_equal(
        net_ca_issue(ca, sk_map_str(frame->tree, "csr", SK_STR_NULL), &issue, &cert, NULL, &err),
        0);
    sk_jw_init(&w, &json);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", j->fault == NOT_JOINED ? "assign" : "joined");
    sk_jw_kcstr(&w, "cert", j->fault == JUNK_CERT ? "junk" : cert.ptr);
    sk_jw_kcstr(&w, "ca", net_ca_pem(ca));
    sk_jw_kcstr(&w, "cluster", "coast");
    sk_jw_kcstr(&w, "node", "fra-2");
    sk_jw_kcstr(&w, "site", "fra");
    sk_jw_kcstr(&w, "prefix", "10.210.3.0/24");
    sk_jw_kcstr(&w, "later", "kept");
    sk_jw_obj_end(&w);
    assert_int_equal(net_send(peer, sk_buf_str(&json), &err), 0);
    net_peer_close(peer, NULL);
    sk_buf_release(&cert);
    sk_buf_release(&json);
}

static struct joining *current;

/* As one that does not lead, and names who does: itself, the second time. */
static void send_on(struct joining *j, struct net_peer *peer)
{
    struct sk_buf json = SK_BUF_INIT;
    sk_buf_printf(&json,
                  "{\"v\":1,\"type\":\"error\",\"code\":\"unavailable\",\"text\":\"not "
                  "me\",\"leader\":\"%s\"}",
                  j->address);
    assert_int_equal(net_send(peer, sk_buf_str(&json), NULL), 0);
    net_peer_close(peer, NULL);
    sk_buf_release(&json);
    j->fault = j->fault == SENT_ON ? NONE : SENT_ROUND;
}

static void on_join(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct joining *j = current;
    struct net_token token;
    char hash[SK_SHA256_HEX];
    (void)ctx;
    j->asked++;
    assert_true(net_peer_info(peer)->joining);
    if (j->fault == SILENT) {
        return;
    }
    if (j->fault == SENT_ON || j->fault == SENT_ROUND) {
        send_on(j, peer);
        return;
    }
    if (j->fault == HANG_UP) {
        net_peer_close(peer, NULL);
        return;
    }
    if (net_token_parse(sk_map_str(frame->tree, "token", SK_STR_NULL), &token, NULL) < 0) {
        refuse(peer, "not a token");
        return;
    }
    net_token_hash(&token, hash);
    if (!net_token_hash_eq(hash, j->hash)) {
        refuse(peer, "the token is not known");
    } else if (j->used) {
        refuse(peer, "the token was used already");
    } else if (sys_wall_ms() >= j->expires_ms) {
        refuse(peer, "the token has expired");
    } else {
        j->used = true;
        answer(j, peer, frame);
    }
}

static void on_join_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)peer;
    (void)why;
}

static struct joining *new_joining(void)
{
    struct joining *j = sk_xcalloc(1, sizeof(*j));
    uint8_t fingerprint[32];
    j->w = fx_new();
    j->w->scb.on_join = on_join;
    j->w->scb.on_down = on_join_down;
    j->w->cfg.join_fails_max = 100;
    fx_server(j->w);
    (void)snprintf(j->dir, sizeof(j->dir), "/tmp/skerry-join-XXXXXX");
    assert_non_null(mkdtemp(j->dir));
    (void)snprintf(j->address, sizeof(j->address), "127.0.0.1:%u", net_server_port(j->w->server));
    assert_int_equal(net_ca_new("coast", sys_wall_ms(), &j->other, NULL), 0);
    assert_int_equal(net_ca_fingerprint(sk_str(net_ca_pem(j->w->ca)), fingerprint, NULL), 0);
    net_token_new(fingerprint, &j->token);
    net_token_hash(&j->token, j->hash);
    j->expires_ms = sys_wall_ms() + 60000;
    j->join = (struct net_join){.address = j->address,
                                .token = &j->token,
                                .dir = j->dir,
                                .timeout_ms = 3000,
                                .node = "fra-2",
                                .site = "fra",
                                .node_address = "127.0.0.1",
                                .machine_id = "m",
                                .incarnation = "i",
                                .cpus_nano = 4000000000,
                                .memory_bytes = 1 << 30,
                                .labels = SK_STR("{\"disk\":\"ssd\"}")};
    current = j;
    return j;
}

static const char *in_dir(const struct joining *j, const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", j->dir, name);
    return path;
}

static void empty(struct joining *j)
{
    static const char *names[] = {"node.key", "node.pem", "ca.pem", "joined.json"};
    for (size_t i = 0; i < 4; i++) {
        (void)unlink(in_dir(j, names[i]));
    }
}

static void free_joining(struct joining *j)
{
    empty(j);
    assert_int_equal(rmdir(j->dir), 0);
    net_ca_free(j->other);
    fx_free(j->w);
    free(j);
}

static void *join_main(void *ctx)
{
    struct joining *j = ctx;
    j->rc = net_join(&j->join, &j->joined, &j->err);
    __atomic_store_n(&j->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void join(struct joining *j)
{
    pthread_t thread;
    j->done = 0;
    memset(&j->err, 0, sizeof(j->err));
    assert_int_equal(pthread_create(&thread, NULL, join_main, j), 0);
    fx_until(j->w, &j->done, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void fails(struct joining *j, int code, const char *line)
{
    struct net_identity id = {0};
    join(j);
    if (j->rc != code || !strstr(j->err.msg, line)) {
        fail_msg("%d '%s' instead of %d '%s'", j->rc, j->err.msg, code, line);
    }
    assert_int_equal(net_identity_load(j->dir, &id, NULL), SK_ERR_NOT_FOUND);
    assert_int_not_equal(access(in_dir(j, "node.key"), F_OK), 0);
}

static void a_newcomer_joins_and_connects(void **state)
{
    struct joining *j = new_joining();
    struct net_identity id = {0};
    struct sk_buf kept = SK_BUF_INIT;
    struct stat st;
    (void)state;
    join(j);
    assert_string_equal(j->err.msg, "");
    assert_int_equal(j->rc, 0);
    assert_string_equal(j->joined.site, "fra");
    assert_string_equal(j->joined.prefix, "10.210.3.0/24");
    assert_string_equal(j->joined.identity.info.node, "fra-2");
    assert_int_equal(net_identity_load(j->dir, &id, NULL), 0);
    assert_int_equal(stat(in_dir(j, "node.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(sys_file_read(in_dir(j, "joined.json"), 100000, &kept, NULL), 0);
    assert_non_null(strstr(kept.ptr, "\"later\":\"kept\""));
    fx_client(j->w, &id, (struct net_channel_cfg){0});
    fx_until(j->w, &j->w->s.ups, 1);
    assert_string_equal(j->w->s.info.cert.node, "fra-2");
    /* a server that is a member does not join once more */
    net_token_new(j->token.ca, &j->token);
    join(j);
    assert_int_equal(j->rc, SK_ERR_CONFLICT);
    assert_non_null(strstr(j->err.msg, "is node 'fra-2' of cluster 'coast' already"));
    assert_int_equal(j->asked, 1);
    net_identity_release(&id);
    net_identity_release(&j->joined.identity);
    sk_buf_release(&kept);
    free_joining(j);
}

static void join_well(struct joining *j)
{
    net_token_new(j->token.ca, &j->token);
    net_token_hash(&j->token, j->hash);
    j->used = false;
    j->expires_ms = sys_wall_ms() + 60000;
    j->fault = NONE;
    join(j);
    assert_string_equal(j->err.msg, "");
    assert_int_equal(j->rc, 0);
    net_identity_release(&j->joined.identity);
    empty(j);
}

static void a_standby_names_the_leader(void **state)
{
    struct joining *j = new_joining();
    (void)state;
    j->fault = SENT_ON;
    join(j);
    assert_int_equal(j->rc, 0);
    assert_int_equal(j->asked, 2);
    assert_string_equal(j->joined.control, j->address);
    net_identity_release(&j->joined.identity);
    empty(j);
    j->asked = 0;
    j->fault = SENT_ROUND; /* nobody is followed for ever */
    fails(j, SK_ERR_UNAVAILABLE, "the other side says: not me");
    assert_true(j->asked < 10);
    free_joining(j);
}

static void tokens_that_are_not_good(void **state)
{
    struct joining *j = new_joining();
    uint8_t fingerprint[32];
    (void)state;
    join_well(j);
    fails(j, SK_ERR_DENIED, "the other side says: the token was used already");
    join_well(j);
    j->used = false;
    j->expires_ms = sys_wall_ms() - 1;
    fails(j, SK_ERR_DENIED, "the other side says: the token has expired");
    join_well(j);
    net_token_new(j->token.ca, &j->token);
    fails(j, SK_ERR_DENIED, "the other side says: the token is not known");
    /* of a foreign CA: not even shown to the server */
    join_well(j);
    assert_int_equal(net_ca_fingerprint(sk_str(net_ca_pem(j->other)), fingerprint, NULL), 0);
    memcpy(j->token.ca, fingerprint, 32);
    j->asked = 0;
    fails(j, SK_ERR_UNAUTHENTICATED, "the token is of another cluster than the server");
    assert_int_equal(j->asked, 0);
    free_joining(j);
}

static void servers_that_are_not_good(void **state)
{
    static const struct {
        enum fault fault;
        int code;
        const char *line;
    } rows[] = {
        {FOREIGN_CA, SK_ERR_PROTOCOL, "the authority is not the token's"},
        {OTHER_NODE, SK_ERR_PROTOCOL, "the certificate is for node 'ams-9'"},
        {JUNK_CERT, SK_ERR_INPUT, "not a certificate"},
        {NOT_JOINED, SK_ERR_PROTOCOL, "the answer is 'assign', not 'joined'"},
        {HANG_UP, SK_ERR_UNAVAILABLE, "closed the connection"},
    };
    struct joining *j = new_joining();
    struct net_identity node = {0};
    (void)state;
    join_well(j);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        j->used = false;
        j->fault = rows[i].fault;
        fails(j, rows[i].code, rows[i].line);
    }
    j->fault = SILENT;
    j->join.timeout_ms = 300;
    fails(j, SK_ERR_TIMEOUT, "did not answer within 300 ms");
    j->join.timeout_ms = 3000;
    join_well(j);
    /* a stolen node's certificate does not make a control node: the token is not shown to it */
    net_server_free(j->w->server);
    fx_identity(j->w->ca, NET_CERT_NODE, "ams-1", sys_wall_ms(), 0, &node);
    j->w->cfg.identity = &node;
    fx_server(j->w);
    (void)snprintf(j->address, sizeof(j->address), "127.0.0.1:%u", net_server_port(j->w->server));
    j->asked = 0;
    fails(j, SK_ERR_UNAUTHENTICATED, "the server is not a control node");
    net_identity_release(&node);
    net_server_free(j->w->server);
    fx_identity(j->w->ca, NET_CERT_CONTROL, "hub-1", sys_wall_ms() - 7200000, 3600000, &node);
    fx_server(j->w);
    (void)snprintf(j->address, sizeof(j->address), "127.0.0.1:%u", net_server_port(j->w->server));
    fails(j, SK_ERR_UNAUTHENTICATED,
          "the server's certificate is refused: certificate has expired");
    assert_int_equal(j->asked, 0);
    net_identity_release(&node);
    free_joining(j);
}

static void nobody_there(void **state)
{
    struct joining *j = new_joining();
    (void)state;
    join_well(j);
    j->join.address = "127.0.0.1:1";
    fails(j, SK_ERR_UNAVAILABLE, "connect to '127.0.0.1:1': Connection refused");
    assert_non_null(strstr(j->err.fix, "7400"));
    j->join.address = "no such place";
    fails(j, SK_ERR_INPUT, "is not HOST");
    free_joining(j);
}

static void guessing_is_slowed_down(void **state)
{
    struct joining *j = new_joining();
    (void)state;
    net_server_free(j->w->server);
    j->w->cfg.join_fails_max = 3;
    fx_server(j->w);
    (void)snprintf(j->address, sizeof(j->address), "127.0.0.1:%u", net_server_port(j->w->server));
    join_well(j);
    for (int i = 0; i < 3; i++) {
        net_token_new(j->token.ca, &j->token);
        fails(j, SK_ERR_DENIED, "the token is not known");
    }
    j->asked = 0;
    fails(j, SK_ERR_DENIED, "too many refused joins from 127.0.0.1: wait a minute");
    assert_int_equal(j->asked, 0);
    /* members are not bothered by it */
    fx_client(j->w, &j->w->node, (struct net_channel_cfg){0});
    fx_until(j->w, &j->w->s.ups, 1);
    free_joining(j);
}

static void late_answers_are_cut(void **state)
{
    struct joining *j = new_joining();
    (void)state;
    net_server_free(j->w->server);
    j->w->cfg.join_answer_ms = 200;
    j->w->cfg.handshake_ms = 1000;
    fx_server(j->w);
    (void)snprintf(j->address, sizeof(j->address), "127.0.0.1:%u", net_server_port(j->w->server));
    join_well(j);
    j->fault = SILENT;
    fails(j, SK_ERR_TIMEOUT, "the other side says: the join was not answered in time");
    free_joining(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_newcomer_joins_and_connects),
        cmocka_unit_test(a_standby_names_the_leader),
        cmocka_unit_test(tokens_that_are_not_good),
        cmocka_unit_test(servers_that_are_not_good),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(guessing_is_slowed_down),
        cmocka_unit_test(late_answers_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
