/* SPDX-License-Identifier: Apache-2.0 */
#include "model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "model/plan.h"

static const char sample[] =
    "{\"format\":\"skerry.plan/1\","
    "\"id\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\","
    "\"verdict\":\"impossible\",\"based_on\":{\"store\":\"s1\",\"revision\":41},"
    "\"placements\":[{\"project\":\"shop\",\"service\":\"web\",\"replica\":0,\"site\":\"fra\","
    "\"node\":\"fra-1-2\"}],"
    "\"buckets\":[{\"project\":\"shop\",\"bucket\":\"photos\",\"data\":4,\"parity\":2,"
    "\"shards\":{\"ams\":2,\"fra\":2,\"par\":2}}],"
    "\"cost\":{\"currency\":\"EUR\",\"hour\":1.93,\"month\":1408.9,\"lower_bound_hour\":null,"
    "\"gap\":null,\"servers\":{\"hour\":2.7,\"idle\":[\"par-1-4\"]}},"
    "\"latency\":[{\"project\":\"shop\",\"service\":\"web\",\"ms\":null,\"share\":0.97}],"
    "\"losses\":[{\"lost\":[\"fra\"],\"ok\":true,\"control\":\"lost\","
    "\"kept\":[{\"project\":\"shop\",\"service\":\"web\",\"count\":4}],"
    "\"replaced\":[{\"project\":\"shop\",\"service\":\"web\",\"replica\":0,\"site\":\"ams\","
    "\"node\":\"ams-1\"}],"
    "\"short\":[{\"project\":\"shop\",\"service\":\"web\",\"replicas\":1,\"resource\":\"cpus\","
    "\"asked\":true}],"
    "\"latency\":[{\"project\":\"shop\",\"service\":\"web\",\"ms_at_once\":61,\"ms\":55,"
    "\"share\":0.96}],\"added_cost_hour\":0.11}],"
    "\"node_losses\":{\"checked\":40,\"ok\":false,\"worst\":[{\"lost\":[\"fra-1\"],"
    "\"kept\":[{\"project\":\"shop\",\"service\":\"web\",\"count\":3}],\"ok\":false}]},"
    "\"moves\":[{\"project\":\"shop\",\"service\":\"web\",\"replica\":3,\"from\":null,"
    "\"to\":\"ams-2\",\"why\":\"new\"}],"
    "\"problems\":[{\"code\":\"capacity_short\",\"project\":\"shop\",\"service\":\"web\","
    "\"bucket\":null,\"zone\":\"eu\",\"lost\":[\"fra\"],\"resource\":\"cpus\",\"short\":1.5,"
    "\"proven\":true,\"text\":\"t \\\"q\\\"\",\"fix\":\"add a node\"}],"
    "\"warnings\":[{\"code\":\"goal_unmet\",\"project\":\"shop\",\"service\":null,\"text\":\"t\"}],"
    "\"timing_ms\":{\"read\":0,\"plan\":1.5,\"losses\":0,\"total\":1.5}}";

static int parse(const char *text, struct plan **ret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int code = sk_json_read(arena, "plan.json", sk_str(text), NULL, &root, err);

    if (code == 0) {
        code = plan_from_tree("plan.json", root, ret, err);
    }
    sk_arena_free(arena);
    return code;
}

static struct plan *accept(const char *text)
{
    struct plan *plan = NULL;
    struct sk_err err = {0};

    if (parse(text, &plan, &err) < 0) {
        fail_msg("refused: %s", err.msg);
    }
    return plan;
}

static char *print(const struct plan *plan)
{
    struct sk_buf buf = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &buf);
    plan_write_json(plan, &w);
    return sk_buf_steal(&buf, NULL);
}

static void reads_back_what_it_writes(void **state)
{
    struct plan *plan = accept(sample);
    char *text = print(plan);

    assert_string_equal(text, sample);
    assert_int_equal(plan->verdict, PLAN_IMPOSSIBLE);
    assert_true(sk_str_is(plan->based_on_store, "s1") && plan->based_on_revision == 41);
    assert_true(sk_str_is(plan->placements[0].node, "fra-1-2"));
    assert_int_equal(plan->buckets[0].nshards, 3);
    assert_true(plan->cost.hour.known && plan->cost.hour.value == 1.93);
    assert_false(plan->cost.gap.known || plan->latency[0].ms.known);
    assert_true(plan->losses[0].ok && !plan->losses[0].control_kept);
    assert_true(plan->losses[0].shorts[0].asked && plan->losses[0].nreplaced == 1);
    assert_true(plan->losses[0].latency[0].ms_at_once.value == 61);
    assert_int_equal(plan->node_losses.worst[0].kept[0].count, 3);
    assert_int_equal(plan->moves[0].from.len, 0);
    assert_true(plan->problems[0].missing.value == 1.5 && plan->problems[0].bucket.len == 0);
    assert_true(sk_str_is(plan->problems[0].text, "t \"q\""));
    free(text);
    plan_free(plan);
}

static void empty_plan_has_every_key(void **state)
{
    struct plan *plan = plan_new();
    struct plan *again;
    char *text;

    plan_seal(plan);
    text = print(plan);
    again = accept(text);
    assert_true(plan_id_matches(again));
    assert_string_equal(again->id, plan->id);
    assert_non_null(strstr(text, "\"moves\":[]"));
    assert_non_null(strstr(text, "\"store\":null"));
    free(text);
    plan_free(plan);
    plan_free(again);
}

/* The id as anybody can compute it: RFC 8785 of the document without id and timing. */
static void id_is_the_hash_of_the_canonical_form(void **state)
{
    struct plan *plan = accept(sample);
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf canonical = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    struct sk_node *copy = SK_ARENA_NEW(arena, struct sk_node);
    struct sk_member *members;
    char hex[SK_SHA256_HEX];
    char *text = print(plan);

    assert_int_equal(sk_json_read(arena, "x", sk_str(text), NULL, &root, NULL), 0);
    members = SK_ARENA_ARRAY(arena, struct sk_member, root->count);
    *copy = *root;
    copy->count = 0;
    copy->u.members = members;
    for (uint32_t i = 0; i < root->count; i++) {
        struct sk_str key = root->u.members[i].key;
        if (!sk_str_is(key, "id") && !sk_str_is(key, "timing_ms")) {
            members[copy->count++] = root->u.members[i];
        }
    }
    assert_int_equal(sk_json_canonical(copy, &canonical, NULL), 0);
    sk_sha256_hex(sk_buf_str(&canonical), hex);
    assert_false(plan_id_matches(plan));
    plan_seal(plan);
    assert_true(plan_id_matches(plan));
    assert_string_equal(plan->id + 7, hex);
    plan->timing_ms.plan = 99;
    assert_true(plan_id_matches(plan));
    plan->placements[0].replica = 1;
    assert_false(plan_id_matches(plan));
    free(text);
    sk_buf_release(&canonical);
    sk_arena_free(arena);
    plan_free(plan);
}

static void order_of_keys_does_not_change_the_id(void **state)
{
    char *text = strdup(sample);
    struct plan *plan = accept(sample);
    struct plan *other;
    char *shards = strstr(text, "\"ams\":2,\"fra\":2");

    memcpy(shards, "\"fra\":2,\"ams\":2", 15);
    other = accept(text);
    plan_seal(plan);
    plan_seal(other);
    assert_string_equal(plan->id, other->id);
    free(text);
    plan_free(plan);
    plan_free(other);
}

/* The sample with one piece replaced. */
static const struct {
    const char *find, *replace, *msg;
} damages[] = {
    {"skerry.plan/1", "skerry.plan/2",
     "plan.json:1:11: 'format' must be \"skerry.plan/1\", not 'skerry.plan/2'"},
    {"sha256:0", "sha256:x", "plan.json:1:32: 'id' must be \"sha256:\" and 64 hexadecimal digits"},
    {"\"impossible\"", "\"perhaps\"",
     "plan.json:1:116: 'verdict' must be ok, impossible or not_found, not 'perhaps'"},
    {"\"revision\":41", "\"revision\":\"41\"",
     "plan.json:1:165: 'based_on.revision' must be a number, not a string"},
    {"\"replica\":0", "\"replica\":-1",
     "plan.json:1:227: 'placements[0].replica' must be a whole number of 0 to 9007199254740992, "
     "not '-1'"},
    {"\"replica\":0,", "", "plan.json:1:183: 'placements[0]' lacks the key 'replica'"},
    {"\"control\":\"lost\"", "\"control\":\"maybe\"",
     "plan.json:1:611: 'losses[0].control' must be kept or lost, not 'maybe'"},
    {"\"asked\":true", "\"asked\":1",
     "plan.json:1:842: 'losses[0].short[0].asked' must be a boolean, not a number"},
    {"\"why\":\"new\"", "\"why\":\"new\",\"when\":1",
     "plan.json:1:1184: unknown key 'moves[0].when' in a plan"},
    {"\"text\":\"t\"", "\"text\":null",
     "plan.json:1:1451: 'warnings[0].text' must be a string, not empty"},
    {"\"shards\":{\"ams\":2", "\"shards\":{\"ams\":2.5",
     "plan.json:1:344: 'buckets[0].shards.ams' must be a whole number of 0 to 9007199254740992, "
     "not '2.5'"},
};

static void each_damage_has_its_line(void **state)
{
    int wrong = 0;

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const char *at = strstr(sample, damages[i].find);
        struct sk_buf text = SK_BUF_INIT;
        struct sk_err err = {0};
        struct plan *plan = NULL;

        assert_non_null(at);
        sk_buf_add(&text, sample, (size_t)(at - sample));
        sk_buf_adds(&text, damages[i].replace);
        sk_buf_adds(&text, at + strlen(damages[i].find));
        assert_int_equal(parse(text.ptr, &plan, &err), SK_ERR_INPUT);
        assert_null(plan);
        wrong += differs(err.msg, damages[i].msg);
        sk_buf_release(&text);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_it_writes),
        cmocka_unit_test(empty_plan_has_every_key),
        cmocka_unit_test(id_is_the_hash_of_the_canonical_form),
        cmocka_unit_test(order_of_keys_does_not_change_the_id),
        cmocka_unit_test(each_damage_has_its_line),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
