/* SPDX-License-Identifier: Apache-2.0 */
/* Routing views and what is written from them, without a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/prng.h"
#include "net/ingress.h"
#include "net/ingress_config.h"
#include "net/ingress_slots.h"

static const char good[] =
    "{\"rev\":7,\"site\":\"fra\",\"node\":\"fra-1\",\"routes\":[{\"host\":\"Shop.example.com\","
    "\"project\":\"shop\",\"service\":\"web\",\"check\":\"/healthz\",\"local\":[{\"id\":\"aa\","
    "\"address\":\"10.210.1.2\",\"port\":8000},{\"id\":\"bb\",\"address\":\"10.210.1.3\",\"port\":"
    "8000,\"weight\":50}],\"remote\":[{\"site\":\"ams\",\"node\":\"ams-1\",\"address\":"
    "\"10.99.2.11\",\"port\":8080,\"rtt_ms\":200.5},{\"site\":\"par\",\"node\":\"par-1\","
    "\"address\":\"fd00::1\",\"rtt_ms\":null}]}],\"published\":[{\"port\":5432,\"udp\":false,"
    "\"project\":\"shop\",\"service\":\"db\",\"local\":[],\"remote\":[]},{\"port\":53,\"udp\":true,"
    "\"project\":\"shop\",\"service\":\"dns\",\"local\":[],\"remote\":[]}]}";

static int read_view(struct sk_arena *arena, const char *json, struct ingress_view *ret,
                     struct sk_err *err)
{
    const struct sk_node *root = NULL;
    int bad = sk_json_read(arena, "view", sk_str(json), NULL, &root, err);
    if (bad < 0) {
        return bad; /* a NUL is refused there already */
    }
    return ingress_view_read(arena, root, ret, err);
}

static char *config_of(const struct ingress_view *view, bool with_endpoints)
{
    struct ingress_config c = {
        .dir = "/d", .bind_address = "", .http_port = 80, .inter_port = 7443, .identity = true};
    struct ingress_table t = {0};
    struct sk_buf out = SK_BUF_INIT;
    ingress_table_fill(&t, &t, view);
    ingress_config_write(&c, view, t.items, with_endpoints, &out);
    ingress_table_release(&t);
    return sk_buf_steal(&out, NULL);
}

static void a_view_is_read_and_written(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct ingress_view v;
    struct sk_err err = {0};
    struct sk_buf map = SK_BUF_INIT;
    (void)state;
    if (read_view(arena, good, &v, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(v.nservices, 2); /* UDP is not HAProxy's */
    assert_int_equal(v.services[0].local[0].weight, 100);
    sk_autofree char *text = config_of(&v, true);
    static const char *const parts[] = {
        "backend be.shop.web.http\n",
        "http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host Shop.example.com",
        "server s1 10.210.1.2:8000 weight 100 check inter 250ms",
        "server s2 10.210.1.3:8000 weight 50 check",
        "server s3 127.0.0.1:1 weight 100 check",
        "server r.ams 10.99.2.11:7443 backup track rm.shop.web.http/r.ams ssl crt /d/node.pem "
        "ca-file /d/ca.pem verify required verifyhost ams-1 alpn in.shop.web."
        "http pool-purge-delay 2s on-marked-down shutdown-sessions\n",
        "server r.par [fd00::1]:7443 backup",
        /* two refusals of real traffic take a replica out at once */
        "server s1 10.210.1.2:8000 weight 100 check inter 250ms fastinter 50ms downinter 250ms "
        "fall 3 rise 1 observe layer4 error-limit 2 on-error mark-down pool-max-conn 0",
        "    retries 5\n",
        /* checks of other sites travel by the connections that users' requests will take */
        "frontend fe.checks\n    mode http\n    bind unix@/d/checks.sock mode 600\n"
        "    use_backend be.%[req.hdr(x-skerry-name)]\n    default_backend none\n",
        "    force-persist if { req.hdr(x-skerry-check) -m found }\n"
        "    use-server %[req.hdr(x-skerry-check)] if { req.hdr(x-skerry-check) -m found }\n",
        "backend in.shop.web.http\n    mode http\n    balance roundrobin\n    http-reuse always\n"
        "    retry-on conn-failure empty-response\n"
        "    http-request disable-l7-retry unless METH_GET\n"
        "    http-request return status 200 content-type text/plain string \"up\\n\" if { "
        "req.hdr(x-skerry-check) -m found } { nbsrv(in.shop.web.http) gt 0 }\n"
        "    http-request return status 503 content-type text/plain string \"down\\n\" if { "
        "req.hdr(x-skerry-check) -m found }\n",
        "backend rm.shop.web.http\n    mode http\n    option httpchk\n    http-check send meth GET "
        "uri /up ver HTTP/1.1 hdr Host skerry.internal hdr Connection close hdr X-Skerry-Name "
        "shop.web.http hdr X-Skerry-Check %[srv_name]\n    http-check expect status 200\n"
        "    timeout connect 802ms\n    timeout check 803ms\n"
        "    server r.ams unix@/d/checks.sock check inter 502ms fall 3 rise 1\n"
        "    server r.par unix@/d/checks.sock check inter 250ms fall 3 rise 1\n",
        "server s1 10.210.1.2:8000 weight 100 track be.shop.web.http/s1",
        "frontend fe.p5432\n    mode tcp\n    bind *:5432\n",
        "verify required alpn in.shop.web.http,in.shop.db.p5432,ck.shop.db.p5432\n"
        "    tcp-request content reject",
    };
    for (size_t i = 0; i < SK_ARRAY_LEN(parts); i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("missing: %s\nin:\n%s", parts[i], text);
        }
    }
    assert_true(strstr(text, "r.ams") < strstr(text, "r.par")); /* nearest first */
    ingress_hosts_write(&v, &map);
    assert_string_equal(map.ptr, "shop.example.com be.shop.web.http\n");
    sk_buf_release(&map);
    sk_arena_free(arena);
}

/* Endpoints are not part of the shape: their coming and going needs no reload. */
static void shape_is_blind_to_endpoints(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct ingress_view v;
    (void)state;
    assert_int_equal(read_view(arena, good, &v, NULL), 0);
    sk_autofree char *two = config_of(&v, false);
    v.services[0].nlocal = 1;
    sk_autofree char *one = config_of(&v, false);
    assert_string_equal(two, one);
    v.services[0].nremote = 1;
    sk_autofree char *fewer_sites = config_of(&v, false);
    assert_string_not_equal(two, fewer_sites);
    sk_arena_free(arena);
}

/* Whatever stands in a name, it is refused, or is nothing but that name in the configuration. */
static void nothing_can_be_injected(void **state)
{
    static const char *const fields[] = {
        "Shop.example.com", "shop\"", "web\"", "/healthz",   "aa\"",
        "10.210.1.2",       "ams\"",  "ams-1", "10.99.2.11", "fra\""};
    static const char *const nasty[] = {"a b",  "a\\nbackend x", "a\\r",  "a\\\"b",    "a'b",
                                        "a#b",  "a\\\\b",        "a${X}", "a%b",       "a,b",
                                        "",     "a;b",           "a|b",   "a\\u0000b", "\\t",
                                        "a{b}", "a(b)",          "../x",  "a\\u00e9"};
    (void)state;
    for (size_t f = 0; f < SK_ARRAY_LEN(fields); f++) {
        size_t name_len = strcspn(fields[f], "\"");
        const char *at = strstr(good, fields[f]);
        assert_non_null(at);
        for (size_t n = 0; n < SK_ARRAY_LEN(nasty); n++) {
            struct sk_arena *arena = sk_arena_new();
            struct ingress_view v;
            struct sk_buf json = SK_BUF_INIT;
            sk_buf_add(&json, good, (size_t)(at - good));
            sk_buf_adds(&json, nasty[n]);
            sk_buf_adds(&json, at + name_len);
            int ret = read_view(arena, json.ptr, &v, NULL);
            bool may_be_empty = fields[f][0] == '/' && nasty[n][0] == '\0';
            bool left_out = ret == 0 && v.left_out == 1 && v.nservices == 1;
            if (ret != SK_ERR_INPUT && !left_out && !(may_be_empty && ret == 0)) {
                fail_msg("field %s took '%s'", fields[f], nasty[n]);
            }
            sk_buf_release(&json);
            sk_arena_free(arena);
        }
    }
}

/* A check path may hold what a request line may; it stays one word of one line. */
static void check_paths_are_escaped(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct ingress_view v;
    (void)state;
    assert_int_equal(read_view(arena, good, &v, NULL), 0);
    v.services[0].check = SK_STR("/a'b\"c$X#d%20\\{\xc3\xa9}");
    assert_int_equal(ingress_view_check(&v, NULL), 0);
    sk_autofree char *text = config_of(&v, true);
    assert_non_null(strstr(
        text, "uri /a\\x27b\\x22c\\x24X\\x23d\\x2520\\x5c\\x7b\\xc3\\xa9\\x7d ver HTTP/1.1"));
    v.services[0].check = SK_STR("/a\r\nX: y");
    assert_int_equal(ingress_view_check(&v, NULL), SK_ERR_INPUT);
    sk_arena_free(arena);
}

/* Random bytes as names: what is accepted leaves the number of lines and words unchanged. */
static void random_names_keep_the_shape(void **state)
{
    struct sk_prng prng;
    size_t accepted = 0;
    (void)state;
    sk_prng_seed(&prng, 11);
    for (int round = 0; round < 20000; round++) {
        struct sk_arena *arena = sk_arena_new();
        struct ingress_view v;
        char name[8];
        assert_int_equal(read_view(arena, good, &v, NULL), 0);
        size_t len = 1 + (size_t)sk_prng_below(&prng, sizeof(name) - 1);
        for (size_t i = 0; i < len; i++) {
            bool any = sk_prng_below(&prng, 4) == 0;
            name[i] = (char)(any ? sk_prng_below(&prng, 256) : 'a' + sk_prng_below(&prng, 26));
        }
        struct sk_str s = {name, len};
        struct ingress_service *svc = &v.services[0];
        switch (sk_prng_below(&prng, 4)) {
        case 0:
            svc->project = s;
            break;
        case 1:
            svc->service = s;
            break;
        case 2:
            svc->host = s;
            break;
        default:
            v.site = s;
            break;
        }
        if (ingress_view_check(&v, NULL) == 0) {
            accepted++;
            for (size_t i = 0; i < len; i++) {
                assert_true(name[i] > ' ' && name[i] < 127);
                assert_null(strchr("\"'\\#$%{}();,|", name[i]));
            }
        }
        sk_arena_free(arena);
    }
    assert_true(accepted > 1000);
}

static struct ingress_view one_service(struct ingress_service *s, struct ingress_endpoint *local,
                                       size_t nlocal)
{
    *s = (struct ingress_service){.project = SK_STR("p"),
                                  .service = SK_STR("s"),
                                  .host = SK_STR("h"),
                                  .local = local,
                                  .nlocal = nlocal};
    return (struct ingress_view){SK_STR("fra"), s, 1};
}

static struct ingress_endpoint endpoint(const char *id, const char *address)
{
    return (struct ingress_endpoint){sk_str(id), sk_str(address), 80, 100};
}

static void endpoints_keep_their_places(void **state)
{
    struct ingress_service s;
    struct ingress_endpoint e[3] = {endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"),
                                    endpoint("c", "10.0.0.3")};
    struct ingress_view v = one_service(&s, e, 2);
    struct ingress_table t = {0};
    struct sk_buf out = SK_BUF_INIT;
    (void)state;
    ingress_table_fill(&t, &t, &v);
    assert_true(ingress_table_fits(&t, &v));
    ingress_table_move(&t, &v, true, 1000, &out);
    assert_int_equal(out.len, 0);  /* nothing changed */
    v = one_service(&s, e + 1, 2); /* a goes, c comes */
    ingress_table_move(&t, &v, true, 1000, &out);
    assert_string_equal(out.ptr, "set server be.p.s.http/s1 state drain\n"
                                 "set server be.p.s.http/s3 state maint\n"
                                 "set server be.p.s.http/s3 addr 10.0.0.3 port 80\n"
                                 "set server in.p.s.http/s3 addr 10.0.0.3 port 80\n"
                                 "set server be.p.s.http/s3 weight 100\n"
                                 "set server in.p.s.http/s3 weight 100\n"
                                 "set server be.p.s.http/s3 state ready\n");
    sk_buf_clear(&out);
    assert_int_equal(ingress_table_expire(&t, 1000, &out), 1000 + INGRESS_DRAIN_MS);
    assert_int_equal(out.len, 0);
    assert_int_equal(ingress_table_expire(&t, 1000 + INGRESS_DRAIN_MS, &out), 0);
    assert_string_equal(out.ptr, "set server be.p.s.http/s1 state maint\n");
    sk_buf_release(&out);
    ingress_table_release(&t);
}

/* Any sequence of views that fits ends with exactly the wanted endpoints in use. */
static void random_moves_end_right(void **state)
{
    struct sk_prng prng;
    struct ingress_service s;
    struct ingress_table t = {0};
    char ids[12][4];
    (void)state;
    sk_prng_seed(&prng, 5);
    struct ingress_view v = one_service(&s, NULL, 0);
    ingress_table_fill(&t, &t, &v);
    for (uint64_t now = 0; now < 2000; now++) {
        struct ingress_endpoint e[12];
        size_t n = 0;
        for (unsigned k = 0; k < 12 && n < 8; k++) {
            if (sk_prng_below(&prng, 2) == 0) {
                (void)snprintf(ids[k], sizeof(ids[k]), "i%u", k);
                e[n++] = endpoint(ids[k], "10.0.0.9");
            }
        }
        struct sk_buf out = SK_BUF_INIT;
        v = one_service(&s, e, n);
        assert_true(ingress_table_fits(&t, &v));
        ingress_table_move(&t, &v, true, now * 500, &out);
        (void)ingress_table_expire(&t, now * 500, &out);
        size_t used = 0;
        for (size_t i = 0; i < t.items[0].count; i++) {
            const struct ingress_slot *slot = &t.items[0].items[i];
            if (slot->state == SLOT_USED) {
                used++;
                size_t k = 0;
                while (k < n && !sk_str_is(e[k].id, slot->id)) {
                    k++;
                }
                assert_true(k < n);
            }
        }
        assert_int_equal(used, n);
        sk_buf_release(&out);
    }
    ingress_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_is_read_and_written), cmocka_unit_test(shape_is_blind_to_endpoints),
        cmocka_unit_test(nothing_can_be_injected),    cmocka_unit_test(random_names_keep_the_shape),
        cmocka_unit_test(check_paths_are_escaped),    cmocka_unit_test(endpoints_keep_their_places),
        cmocka_unit_test(random_moves_end_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
