/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "base/mem.h"
#include "sys/proc.h"

struct seen {
    int calls, exit, signal, code;
    bool timed_out, cut;
    char out[256], msg[SK_ERR_MSG_MAX];
};

static void on_done(void *ctx, const struct sk_proc_result *r)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->exit = r->exit;
    seen->signal = r->signal;
    seen->timed_out = r->timed_out;
    seen->cut = r->out_cut;
    seen->code = r->err.code;
    (void)snprintf(seen->out, sizeof(seen->out), "%.*s", SK_PRI(r->out));
    (void)snprintf(seen->msg, sizeof(seen->msg), "%s", r->err.msg);
}

static struct seen run(const char *script, struct sk_proc_spec spec, bool cancel)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct seen seen = {0};
    struct sk_proc *proc = NULL;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    spec.argv = argv;
    assert_int_equal(sk_proc_start(&loop, &spec, on_done, &seen, &proc, NULL), 0);
    assert_int_equal(seen.calls, 0);
    if (cancel) {
        sk_proc_cancel(proc);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
    return seen;
}

static void test_output(void **state)
{
    struct seen seen =
        run("echo hello; echo why >&2", (struct sk_proc_spec){.out_max = 100}, false);
    assert_int_equal(seen.exit, 0);
    assert_int_equal(seen.code, SK_OK);
    assert_string_equal(seen.out, "hello\n");
}

static void test_output_is_bounded(void **state)
{
    struct seen seen =
        run("head -c 1000000 /dev/zero | tr '\\0' x", (struct sk_proc_spec){.out_max = 10}, false);
    assert_int_equal(seen.exit, 0);
    assert_true(seen.cut);
    assert_string_equal(seen.out, "xxxxxxxxxx");
}

static void test_failure_says_why(void **state)
{
    struct seen seen =
        run("echo first >&2; echo the reason >&2; exit 3", (struct sk_proc_spec){0}, false);
    assert_int_equal(seen.exit, 3);
    assert_int_equal(seen.code, SK_ERR_ENGINE);
    assert_string_equal(seen.msg, "'sh' exited with 3: the reason");
    seen = run("kill -9 $$", (struct sk_proc_spec){0}, false);
    assert_int_equal(seen.signal, 9);
    assert_string_equal(seen.msg, "'sh' was killed by signal 9");
}

static void test_timeout_ends_the_group(void **state)
{
    uint64_t begin = uv_hrtime();
    struct seen seen = run("sleep 30 & sleep 30", (struct sk_proc_spec){.timeout_ms = 100}, false);
    assert_true(seen.timed_out);
    assert_int_equal(seen.code, SK_ERR_TIMEOUT);
    assert_string_equal(seen.msg, "'sh' did not end within 100 ms");
    assert_true(uv_hrtime() - begin < UINT64_C(5000000000));
}

static void test_cancel(void **state)
{
    struct seen seen = run("sleep 30", (struct sk_proc_spec){0}, true);
    assert_int_equal(seen.code, SK_ERR_CANCELLED);
}

static void test_input_and_environment(void **state)
{
    const char *env[] = {"PATH=/usr/bin:/bin", "WORD=yes", NULL};
    struct seen seen = run(
        "cat; echo $WORD; pwd",
        (struct sk_proc_spec){.input = SK_STR("in\n"), .env = env, .cwd = "/tmp", .out_max = 100},
        false);
    assert_string_equal(seen.out, "in\nyes\n/tmp\n");
}

static void test_missing_program(void **state)
{
    const char *argv[] = {"no-such-program-here", NULL};
    const struct sk_proc_spec spec = {.argv = argv};
    struct seen seen = {0};
    struct sk_err err = {0};
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(sk_proc_start(&loop, &spec, on_done, &seen, NULL, &err), SK_ERR_ENGINE);
    assert_string_equal(err.msg, "program 'no-such-program-here' is not installed");
    assert_true(err.fix[0] != '\0');
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(seen.calls, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),           cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_failure_says_why), cmocka_unit_test(test_timeout_ends_the_group),
        cmocka_unit_test(test_cancel),           cmocka_unit_test(test_input_and_environment),
        cmocka_unit_test(test_missing_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
