/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake.h"
#include "scenes.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct control_join join_of(const char *hash, const char *node, const char *site)
{
    return (struct control_join){.token_hash = sk_str(hash),
                                 .csr = SK_STR("csr"),
                                 .node = sk_str(node),
                                 .site = sk_str(site),
                                 .address = SK_STR("192.0.2.9"),
                                 .machine_id = SK_STR("machine-1"),
                                 .incarnation = SK_STR("inc"),
                                 .cpus_nano = 1000000000,
                                 .memory_bytes = 1 << 30};
}

static const struct fake_reply *try_join(struct fake *f, struct control_join j)
{
    return fake_wait(f, fake_join_raw(f, &j));
}

static void first_join(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "fra", "node", 60000))->code, 0);
    assert_int_equal(try_join(f, join_of(HASH_A, "fra-1", "fra"))->code, 0);
    assert_non_null(fake_get(f, "/skerry/v1/nodes/fra-1"));
    assert_non_null(fake_get(f, "/skerry/v1/sites/fra"));
    assert_non_null(fake_get(f, "/skerry/v1/certs/fra-1"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "10.210.2.0/24"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/tokens/" HASH_A), "\"used_by\":\"fra-1\""));
    fake_run(f, 1000);
    assert_true(fake_agent(f, "fra-1")->assigns > 0);
    fake_free(f);
}

static void tokens_are_held_to(void **state)
{
    struct fake *f = fake_new(1);
    const struct fake_reply *r = try_join(f, join_of(HASH_A, "fra-1", "fra"));
    assert_int_equal(r->code, SK_ERR_DENIED); /* never made */

    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "fra", "node", 60000))->code, 0);
    r = try_join(f, join_of(HASH_A, "ams-1", "ams"));
    assert_int_equal(r->code, SK_ERR_DENIED); /* of another site */
    assert_int_equal(try_join(f, join_of(HASH_A, "fra-1", "fra"))->code, 0);
    r = try_join(f, join_of(HASH_A, "fra-2", "fra"));
    assert_int_equal(r->code, SK_ERR_DENIED); /* used */
    assert_non_null(strstr(r->msg, "used already"));

    assert_int_equal(fake_wait(f, fake_token(f, HASH_B, "fra", "node", 5000))->code, 0);
    fake_run(f, 5100);
    r = try_join(f, join_of(HASH_B, "fra-2", "fra"));
    assert_int_equal(r->code, SK_ERR_DENIED);
    assert_non_null(strstr(r->msg, "expired"));
    assert_null(fake_get(f, "/skerry/v1/nodes/fra-2"));

    const struct fake_reply *long_lived =
        fake_wait(f, fake_token(f, HASH_B "", "fra", "node", CONTROL_TOKEN_TTL_MAX_MS + 1));
    assert_int_equal(long_lived->code, SK_ERR_INPUT);
    fake_free(f);
}

static void role_binds(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "hub", "node", 60000))->code, 0);
    /* site hub is control only: a node's token does not make it more */
    assert_int_equal(try_join(f, join_of(HASH_A, "hub-2", "hub"))->code, SK_ERR_DENIED);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_B, "vault", "storage", 60000))->code, 0);
    assert_int_equal(try_join(f, join_of(HASH_B, "vault-1", "vault"))->code, 0);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/sites/vault"), "storage"));
    fake_free(f);
}

static void strangers_facts_are_checked(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "fra", "node", 600000))->code, 0);
    struct control_join j = join_of(HASH_A, "fra-1", "fra");
    j.address = SK_STR("1.2.3.4\nserver evil");
    assert_int_equal(try_join(f, j)->code, SK_ERR_INPUT);
    j = join_of(HASH_A, "Fra_1", "fra");
    assert_int_equal(try_join(f, j)->code, SK_ERR_INPUT);
    j = join_of(HASH_A, "fra-1", "fra");
    j.cpus_nano = 0;
    assert_int_equal(try_join(f, j)->code, SK_ERR_INPUT);
    j = join_of(HASH_A, "fra-1", "fra");
    struct sk_kv twice[] = {{SK_STR("a"), SK_STR("1")}, {SK_STR("a"), SK_STR("2")}};
    j.labels = twice;
    j.nlabels = 2;
    assert_int_equal(try_join(f, j)->code, SK_ERR_INPUT);
    j.nlabels = 1;
    assert_int_equal(try_join(f, j)->code, 0); /* the positive twin */
    fake_free(f);
}

static void names_and_machines_are_one(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "hub", "control", 60000))->code, 0);
    const struct fake_reply *r = try_join(f, join_of(HASH_A, "hub-1", "hub"));
    assert_int_equal(r->code, SK_ERR_CONFLICT);
    assert_int_equal(try_join(f, join_of(HASH_A, "hub-2", "hub"))->code, 0); /* not used up by it */
    fake_free(f);
}

static void a_failed_write_admits_nobody(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_wait(f, fake_token(f, HASH_A, "fra", "node", 60000))->code, 0);
    f->fail_txns = 1;
    assert_int_equal(try_join(f, join_of(HASH_A, "fra-1", "fra"))->code, SK_ERR_UNAVAILABLE);
    assert_null(fake_get(f, "/skerry/v1/nodes/fra-1"));
    assert_int_equal(f->nissued, 0);
    f->conflict_next = true; /* somebody else wrote: load again, then it goes through */
    assert_int_equal(try_join(f, join_of(HASH_A, "fra-1", "fra"))->code, 0);
    assert_int_equal(f->nissued, 1);
    fake_free(f);
}

static void renewals_are_on_record(void **state)
{
    struct fake *f = fake_new(1);
    struct control_event ev = {.kind = CONTROL_EV_RENEW, .now_ms = f->now_ms};
    assert_int_equal(fake_join(f, "fra-1", "fra", 1, 1024), 0);
    fake_run(f, 100);
    char before[512];
    (void)snprintf(before, sizeof(before), "%s", fake_get(f, "/skerry/v1/certs/fra-1"));
    ev.u.renew.request = 900;
    ev.u.renew.node = SK_STR("fra-1");
    ev.u.renew.csr = SK_STR("csr");
    ev.now_ms = f->now_ms;
    ev.wall_ms = f->wall_ms + f->now_ms;
    struct control_commands out = {0};
    assert_int_equal(control_step(f->c, &ev, &out, NULL), 0);
    assert_int_equal(out.count, 1); /* first the record, then the certificate */
    assert_int_equal(out.items[0].kind, CONTROL_CMD_TXN);
    control_commands_release(&out);
    fake_free(f);
}

static void remove_revokes(void **state)
{
    struct fake *f = fake_new(1);
    fake_three_sites(f, 1);
    fake_must_apply(f, WEB("3", "web:1"));
    fake_run(f, 3000);
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_NODE_REMOVE, "fra-1", false, false))->code,
        SK_ERR_CONFLICT); /* neither drained nor lost */
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_NODE_REMOVE, "hub-1", false, false))->code,
        SK_ERR_CONFLICT);
    fake_kill(f, "fra-1");
    fake_run(f, 5000);
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_NODE_REMOVE, "fra-1", false, false))->code, 0);
    assert_int_equal(f->revoked, 1);
    assert_true(control_serial_revoked(f->c, sk_str(f->issued[0])));
    assert_null(fake_get(f, "/skerry/v1/nodes/fra-1"));
    assert_int_equal(
        fake_wait(f, fake_target(f, CONTROL_REQ_SITE_REMOVE, "fra", true, false))->code, 0);
    fake_run(f, 3000);
    assert_int_equal(fake_running(f, "shop/web.", ""), 3);
    fake_start(f, "fra-1"); /* what was removed is not let in again */
    unsigned closed = f->closed;
    fake_run(f, 1000);
    assert_true(f->closed > closed);
    fake_free(f);
}

static void facts(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_join(f, "fra-1", "fra", 1, 1024), 0);
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_SITE_SET, "fra", "", "{\"colour\":\"red\"}"))->code,
        SK_ERR_INPUT);
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_SITE_SET, "fra", "", "{\"at\":[91,0]}"))->code,
        SK_ERR_INPUT);
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_SITE_SET, "nowhere", "", "{\"region\":\"eu\"}"))->code,
        SK_ERR_NOT_FOUND);
    assert_int_equal(fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "fra-1", "",
                                           "{\"labels\":{\"disk\":\"ssd\"},\"price_hour\":0.1}"))
                         ->code,
                     0);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "\"disk\":\"ssd\""));
    assert_int_equal(fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "fra-1", "",
                                           "{\"labels\":{\"disk\":null,\"gpu\":\"no\"}}"))
                         ->code,
                     0);
    assert_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "ssd"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "gpu"));
    assert_non_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "price_hour"));
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_LINK_SET, "hub", "fra", "{\"rtt_ms\":7}"))->code, 0);
    assert_non_null(fake_get(f, "/skerry/v1/links/fra/hub"));
    struct control_request key = {.kind = CONTROL_REQ_KEY_CREATE};
    key.u.key.hash = SK_STR(HASH_A);
    key.u.key.name = SK_STR("ci");
    key.u.key.role = SK_STR("operator");
    assert_int_equal(fake_wait(f, fake_request(f, &key))->code, 0);
    struct sk_str name;
    assert_string_equal(control_key_role(f->c, SK_STR(HASH_A), &name), "operator");
    assert_null(control_key_role(f->c, SK_STR(HASH_B), &name));
    fake_free(f);
}

static void unknown_fields_are_kept(void **state)
{
    struct fake *f = fake_new(1);
    assert_int_equal(fake_join(f, "fra-1", "fra", 1, 1024), 0);
    fake_run(f, 100);
    for (size_t i = 0; i < f->nrecords; i++) { /* a later version wrote something of its own */
        if (strcmp(f->records[i].key, "/skerry/v1/nodes/fra-1") == 0) {
            struct sk_buf text = SK_BUF_INIT;
            sk_buf_printf(&text, "{\"later\":[1,2],%s", f->records[i].value + 1);
            free(f->records[i].value);
            f->records[i].value = sk_buf_steal(&text, NULL);
        }
    }
    fake_restart_control(f);
    assert_int_equal(
        fake_wait(f, fake_set(f, CONTROL_REQ_NODE_SET, "fra-1", "", "{\"price_hour\":2}"))->code,
        0);
    assert_non_null(strstr(fake_get(f, "/skerry/v1/nodes/fra-1"), "\"later\":[1,2]"));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_join),
        cmocka_unit_test(tokens_are_held_to),
        cmocka_unit_test(role_binds),
        cmocka_unit_test(strangers_facts_are_checked),
        cmocka_unit_test(names_and_machines_are_one),
        cmocka_unit_test(a_failed_write_admits_nobody),
        cmocka_unit_test(renewals_are_on_record),
        cmocka_unit_test(remove_revokes),
        cmocka_unit_test(facts),
        cmocka_unit_test(unknown_fields_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
