/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "daemon/frames.h"
#include "daemon/observed.h"
#include "net/token.h"

static const struct sk_node *parse(struct sk_arena *arena, const char *json)
{
    const struct sk_node *root = NULL;
    struct sk_err err = {0};

    assert_int_equal(sk_json_read(arena, "frame", sk_str(json), NULL, &root, &err), 0);
    return root;
}

static void beat(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_err err = {0};

    (void)state;
    assert_int_equal(
        frame_read_beat(parse(arena,
                              "{\"v\":1,\"type\":\"beat\",\"seq\":7,\"assign_rev\":3,\"obs_rev\":9,"
                              "\"heard\":[[\"ams-1\",120,4500],[\"par-1\",-1,-1]],\"later\":1}"),
                        SK_STR("fra-1"), arena, &ev, &err),
        0);
    assert_int_equal(ev.kind, CONTROL_EV_BEAT);
    assert_true(sk_str_is(ev.u.beat.node, "fra-1"));
    assert_int_equal(ev.u.beat.seq, 7);
    assert_int_equal(ev.u.beat.assign_rev, 3);
    assert_int_equal(ev.u.beat.obs_rev, 9);
    assert_int_equal(ev.u.beat.nheard, 2);
    assert_true(sk_str_is(ev.u.beat.heard[0].node, "ams-1"));
    assert_int_equal(ev.u.beat.heard[0].age_ms, 120);
    assert_int_equal(ev.u.beat.heard[0].rtt_us, 4500);
    assert_int_equal(ev.u.beat.heard[1].age_ms, -1);
    sk_arena_free(arena);
}

static void a_brief_beat(void **state)
{
    struct frame_beat beat = {.seq = 8, .assign_rev = 3, .obs_rev = 9, .brief = true};
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_buf json = SK_BUF_INIT;

    (void)state;
    frame_write_beat(&beat, &json);
    assert_int_equal(frame_read_beat(parse(arena, json.ptr), SK_STR("fra-1"), arena, &ev, NULL), 0);
    assert_true(ev.u.beat.brief);
    assert_int_equal(ev.u.beat.seq, 8);
    sk_buf_clear(&json);
    beat.brief = false;
    frame_write_beat(&beat, &json);
    assert_int_equal(frame_read_beat(parse(arena, json.ptr), SK_STR("fra-1"), arena, &ev, NULL), 0);
    assert_false(ev.u.beat.brief); /* it hears nobody, and says so */
    sk_buf_release(&json);
    sk_arena_free(arena);
}

static void lease(void **state)
{
    static const char *const bad[] = {
        "{\"seq\":1}",
        "{\"asks\":[1]}",
        "{\"asks\":[{\"id\":\"a\",\"ask\":\"steal\",\"epoch\":1}]}",
        "{\"asks\":[{\"id\":\"\",\"ask\":\"renew\",\"epoch\":1}]}",
        "{\"asks\":[{\"id\":\"a\",\"ask\":\"renew\",\"epoch\":-1}]}",
        "{\"asks\":[{\"id\":\"a\",\"ask\":\"renew\"}]}",
    };
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_err err = {0};

    assert_int_equal(
        frame_read_lease(parse(arena, "{\"v\":1,\"type\":\"lease\",\"from\":\"f00\",\"seq\":3,"
                                      "\"asks\":[{\"id\":\"ab\",\"ask\":\"grant\",\"epoch\":0},"
                                      "{\"id\":\"cd\",\"ask\":\"release\",\"epoch\":4}]}"),
                         SK_STR("fra-1"), arena, &ev, &err),
        0);
    assert_int_equal(ev.kind, CONTROL_EV_LEASE);
    assert_true(sk_str_is(ev.u.lease.node, "fra-1") && sk_str_is(ev.u.lease.from, "f00"));
    assert_int_equal(ev.u.lease.seq, 3);
    assert_int_equal(ev.u.lease.nasks, 2);
    assert_int_equal(ev.u.lease.asks[0].kind, CONTROL_ASK_GRANT);
    assert_int_equal(ev.u.lease.asks[1].kind, CONTROL_ASK_RELEASE);
    assert_int_equal(ev.u.lease.asks[1].epoch, 4);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(frame_read_lease(parse(arena, bad[i]), SK_STR("fra-1"), arena, &ev, &err),
                         SK_ERR_PROTOCOL);
    }
    sk_arena_free(arena);
}

static void beat_of_wrong_shape(void **state)
{
    static const char *const bad[] = {
        "{\"heard\":[{}]}",
        "{\"heard\":[[\"ams-1\",1]]}",
        "{\"heard\":[[1,1,1]]}",
        "{\"heard\":[[\"ams-1\",\"1\",1]]}",
        "{\"heard\":[[\"ams-1\",-2,1]]}",
        "{\"heard\":[[\"ams-1\",1.5,1]]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sk_arena *arena = sk_arena_new();
        struct control_event ev = {0};
        struct sk_err err = {0};
        assert_int_equal(frame_read_beat(parse(arena, bad[i]), SK_STR("n"), arena, &ev, &err),
                         SK_ERR_PROTOCOL);
        assert_string_equal(err.msg, "beat: 'heard' must hold [node, age_ms, rtt_us]");
        sk_arena_free(arena);
    }
}

static void front(void **state)
{
    static const char *const bad[] = {
        "{\"heard\":[],\"front\":1}",
        "{\"heard\":[],\"front\":{\"view\":1,\"requests\":2}}",
        "{\"heard\":[],\"front\":{\"view\":1,\"requests\":2,\"errors\":-3}}",
        "{\"heard\":[],\"front\":{\"view\":\"x\",\"requests\":2,\"errors\":3}}",
    };
    struct sk_arena *arena = sk_arena_new();
    struct frame_front f = {41, 1000, 7};
    struct frame_beat b = {.seq = 1, .front = &f};
    struct control_event ev = {0};
    struct sk_buf out = SK_BUF_INIT;

    (void)state;
    frame_write_beat(&b, &out);
    assert_int_equal(frame_read_beat(parse(arena, out.ptr), SK_STR("n"), arena, &ev, NULL), 0);
    assert_true(ev.u.beat.has_front);
    assert_int_equal(ev.u.beat.front_view, 41);
    assert_int_equal(ev.u.beat.front_requests, 1000);
    assert_int_equal(ev.u.beat.front_errors, 7);
    sk_buf_clear(&out);
    b.front = NULL;
    frame_write_beat(&b, &out);
    assert_int_equal(frame_read_beat(parse(arena, out.ptr), SK_STR("n"), arena, &ev, NULL), 0);
    assert_false(ev.u.beat.has_front);
    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        assert_int_equal(frame_read_beat(parse(arena, bad[i]), SK_STR("n"), arena, &ev, NULL),
                         SK_ERR_PROTOCOL);
    }
    sk_buf_release(&out);
    sk_arena_free(arena);
}

static void drilled(void **state)
{
    static const char *const bad[] = {
        "{\"op\":\"cut\"}",
        "{\"number\":1}",
        "{\"number\":-1,\"op\":\"cut\"}",
        "{\"number\":1,\"op\":\"burn\"}",
    };
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_err err = {0};

    (void)state;
    assert_int_equal(frame_read_drilled(parse(arena, "{\"number\":7,\"op\":\"check\",\"can\":false,"
                                                     "\"why\":\"no nft\",\"later\":1}"),
                                        SK_STR("fra-1"), &ev, &err),
                     0);
    assert_int_equal(ev.kind, CONTROL_EV_DRILLED);
    assert_int_equal(ev.u.drilled.number, 7);
    assert_int_equal(ev.u.drilled.op, CONTROL_DRILL_CHECK);
    assert_false(ev.u.drilled.can);
    assert_true(sk_str_is(ev.u.drilled.why, "no nft"));
    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        assert_int_equal(frame_read_drilled(parse(arena, bad[i]), SK_STR("n"), &ev, &err),
                         SK_ERR_PROTOCOL);
    }
    sk_arena_free(arena);
}

static void observe(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct control_event ev = {0};
    struct sk_err err = {0};

    (void)state;
    assert_int_equal(
        frame_read_observe(
            parse(arena,
                  "{\"v\":1,\"obs_rev\":4,\"full\":true,\"instances\":["
                  "{\"id\":\"aa\",\"state\":\"running\",\"healthy\":true,\"since_ms\":5,"
                  "\"restarts\":2},"
                  "{\"id\":\"bb\",\"state\":\"failed\",\"healthy\":null,\"exit\":3,\"signal\":null,"
                  "\"reason\":\"exited\",\"log_tail\":[\"one\",\"two\"]}]}"),
            SK_STR("fra-1"), arena, &ev, &err),
        0);
    assert_true(ev.u.observe.full);
    assert_int_equal(ev.u.observe.count, 2);
    assert_int_equal(ev.u.observe.instances[0].healthy, CONTROL_HEALTHY);
    assert_int_equal(ev.u.observe.instances[0].restarts, 2);
    assert_false(ev.u.observe.instances[0].has_exit);
    assert_int_equal(ev.u.observe.instances[1].healthy, CONTROL_HEALTH_NONE);
    assert_true(ev.u.observe.instances[1].has_exit);
    assert_false(ev.u.observe.instances[1].has_signal);
    assert_int_equal(ev.u.observe.instances[1].exit, 3);
    assert_int_equal(ev.u.observe.instances[1].nlog_tail, 2);
    assert_int_equal(
        frame_read_observe(parse(arena, "{\"instances\":[{\"id\":\"a\",\"state\":\"flying\"}]}"),
                           SK_STR("n"), arena, &ev, &err),
        SK_ERR_PROTOCOL);
    assert_int_equal(
        frame_read_observe(parse(arena, "{\"instances\":[7]}"), SK_STR("n"), arena, &ev, &err),
        SK_ERR_PROTOCOL);
    assert_int_equal(frame_read_observe(parse(arena, "{}"), SK_STR("n"), arena, &ev, &err),
                     SK_ERR_PROTOCOL);
    sk_arena_free(arena);
}

static void join(void **state)
{
    static const uint8_t ca[SK_SHA256_BYTES] = {1, 2, 3};
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    struct control_join join = {0};
    struct net_token token;
    char text[NET_TOKEN_TEXT_SIZE], hash[SK_SHA256_HEX];
    struct sk_err err = {0};

    (void)state;
    net_token_new(ca, &token);
    net_token_print(&token, text);
    net_token_hash(&token, hash);
    sk_buf_printf(
        &json,
        "{\"token\":\"%s\",\"csr\":\"pem\",\"node\":\"ams-1\",\"site\":\"ams\",\"address\":\"127.0."
        "0.1\","
        "\"cpus_nano\":5,\"memory_bytes\":6,\"disk_bytes\":7,\"labels\":{\"disk\":\"ssd\"}}",
        text);
    assert_int_equal(frame_read_join(parse(arena, json.ptr), arena, &join, &err), 0);
    assert_true(sk_str_is(join.token_hash, hash));
    assert_int_equal(join.cpus_nano, 5);
    assert_int_equal(join.nlabels, 1);
    sk_buf_clear(&json);
    sk_buf_printf(&json,
                  "{\"token\":\"%s\",\"csr\":\"pem\",\"node\":\"Not A "
                  "Label\",\"site\":\"ams\",\"address\":\"x\"}",
                  text);
    assert_int_equal(frame_read_join(parse(arena, json.ptr), arena, &join, &err), SK_ERR_PROTOCOL);
    assert_int_equal(frame_read_join(parse(arena, "{\"token\":\"guess\"}"), arena, &join, &err),
                     SK_ERR_INPUT);
    assert_null(strstr(err.msg, "guess")); /* what was tried is never echoed */
    sk_buf_release(&json);
    sk_arena_free(arena);
}

static void certificate_frame(void **state)
{
    struct frame_certificate c = {SK_STR("cl"),     SK_STR("ams-1"),
                                  SK_STR("ams"),    SK_STR("10.210.2.0/24"),
                                  SK_STR("CERT\n"), SK_STR("CA")};
    struct sk_buf out = SK_BUF_INIT;

    (void)state;
    frame_write_certificate(&c, false, &out);
    assert_string_equal(
        out.ptr,
        "{\"v\":1,\"type\":\"joined\",\"cert\":\"CERT\\n\",\"ca\":\"CA\",\"cluster\":\"cl\","
        "\"node\":\"ams-1\",\"site\":\"ams\",\"prefix\":\"10.210.2.0/24\"}");
    sk_buf_clear(&out);
    frame_write_certificate(&c, true, &out);
    assert_string_equal(out.ptr, "{\"v\":1,\"type\":\"renewed\",\"cert\":\"CERT\\n\"}");
    sk_buf_release(&out);
}

/* A control node that reconnects gets everything, whatever came in pieces. */
static void observations_add_up(void **state)
{
    struct sk_arena *arena = sk_arena_new();
    struct observed observed = {0};
    struct sk_buf out = SK_BUF_INIT;

    (void)state;
    observed_take(&observed, parse(arena, "{\"full\":false,\"instances\":[]}"));
    assert_false(observed.known);
    observed_take(
        &observed,
        parse(arena,
              "{\"full\":true,\"obs_rev\":1,\"assign_rev\":5,\"instances\":["
              "{\"id\":\"a\",\"state\":\"running\"},{\"id\":\"b\",\"state\":\"starting\"}]}"));
    observed_take(&observed,
                  parse(arena, "{\"full\":false,\"obs_rev\":2,\"assign_rev\":5,\"instances\":["
                               "{\"id\":\"b\",\"state\":\"running\",\"later\":{\"x\":1}}]}"));
    observed_write(&observed, &out);
    assert_true(observed.known);
    assert_string_equal(
        out.ptr,
        "{\"v\":1,\"type\":\"observe\",\"obs_rev\":2,\"assign_rev\":5,\"full\":true,\"instances\":["
        "{\"id\":\"a\",\"state\":\"running\"},{\"id\":\"b\",\"state\":\"running\",\"later\":{\"x\":"
        "1}}]}");
    sk_buf_clear(&out);
    observed_take(&observed, parse(arena, "{\"full\":true,\"obs_rev\":3,\"instances\":[]}"));
    observed_write(&observed, &out);
    assert_string_equal(out.ptr, "{\"v\":1,\"type\":\"observe\",\"obs_rev\":3,\"assign_rev\":0,"
                                 "\"full\":true,\"instances\":[]}");
    observed_release(&observed);
    sk_buf_release(&out);
    sk_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beat),
        cmocka_unit_test(a_brief_beat),
        cmocka_unit_test(lease),
        cmocka_unit_test(beat_of_wrong_shape),
        cmocka_unit_test(front),
        cmocka_unit_test(drilled),
        cmocka_unit_test(observe),
        cmocka_unit_test(join),
        cmocka_unit_test(certificate_frame),
        cmocka_unit_test(observations_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
