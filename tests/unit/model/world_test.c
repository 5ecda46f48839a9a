/* SPDX-License-Identifier: Apache-2.0 */
#include "project_help.h"

static struct inventory *inventory_of(const char *text)
{
    struct inventory *inv = NULL;
    struct sk_err err = {0};

    if (inventory_read("inv.yaml", sk_str(text), &inv, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return inv;
}

/* Checks two projects against a world with the sites fra and ams. */
static int check(const char *one, const char *two, struct sk_err *err)
{
    struct inventory *inv = inventory_of("sites: {fra: , ams: }");
    struct project *a = help_accept(one);
    struct project *b = help_accept(two);
    const struct project *const projects[] = {a, b};
    int code = world_check(inv, projects, 2, err);

    project_free(a);
    project_free(b);
    inventory_free(inv);
    return code;
}

#define A "name: a\nservices: {s: {image: x}}\n"
#define B "name: b\nservices: {s: {image: x}}\n"

static void projects_that_differ_pass(void **state)
{
    struct sk_err err = {0};

    assert_int_equal(check(A "x-skerry: {buckets: {p: }, users: {u: {rtt_ms: {fra: 1, ams: 2}}}}",
                           B "x-skerry: {buckets: {q: }, users: {u: {at: [0, 0]}}}", &err),
                     0);
    assert_int_equal(err.code, 0);
}

static void a_project_is_there_once(void **state)
{
    struct sk_err err = {0};

    assert_int_equal(check(A, A, &err), SK_ERR_INPUT);
    assert_string_equal(err.msg, "c.yaml:1:1: the project 'a' is there twice, also in c.yaml");
    assert_string_equal(err.fix, "rename one of them");
}

static void a_bucket_is_there_once(void **state)
{
    struct sk_err err = {0};

    assert_int_equal(
        check(A "x-skerry: {buckets: {p: }}", B "x-skerry: {buckets: {o: , p: }}", &err),
        SK_ERR_INPUT);
    assert_string_equal(err.msg, "c.yaml:3:27: the bucket 'p' is there twice, also in c.yaml");
}

static void measured_times_are_to_known_sites(void **state)
{
    struct sk_err err = {0};

    assert_int_equal(check(A, B "x-skerry: {users: {u: {rtt_ms: {fra: 1, par: 2}}}}", &err),
                     SK_ERR_INPUT);
    assert_string_equal(err.msg, "c.yaml:3:20: 'x-skerry.users.u.rtt_ms' names the site 'par', "
                                 "which is not in the inventory");
    assert_string_equal(err.fix, "add the site, or remove it from rtt_ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projects_that_differ_pass),
        cmocka_unit_test(a_project_is_there_once),
        cmocka_unit_test(a_bucket_is_there_once),
        cmocka_unit_test(measured_times_are_to_known_sites),
    };
    return cmocka_run_group_tests_name("world", tests, NULL, NULL);
}
