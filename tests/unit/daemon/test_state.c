/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "daemon/state.h"
#include "sys/clock.h"
#include "sys/file.h"

/* Which form of the state there is, and going over to another one while it is used. */

struct folders {
    char one[64], two[64];
};

static int make(void **state)
{
    struct folders *f = sk_xcalloc(1, sizeof(*f));

    (void)snprintf(f->one, sizeof(f->one), "/tmp/skerry-test-XXXXXX");
    (void)snprintf(f->two, sizeof(f->two), "/tmp/skerry-test-XXXXXX");
    assert_non_null(mkdtemp(f->one));
    assert_non_null(mkdtemp(f->two));
    *state = f;
    return 0;
}

static void drop(const char *dir)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "state.db-lock",
                                        "store.json"};
    char path[128];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static int unmake(void **state)
{
    struct folders *f = *state;

    drop(f->one);
    drop(f->two);
    free(f);
    return 0;
}

static void no_file_is_sqlite(void **state)
{
    struct folders *f = *state;
    struct state_form form = {.etcd = true};

    assert_int_equal(state_form_read(f->one, &form, NULL), 0);
    assert_false(form.etcd);
    assert_int_equal(state_form_write(f->one, &form, NULL), 0);
    form.etcd = true;
    assert_int_equal(state_form_read(f->one, &form, NULL), 0);
    assert_false(form.etcd);
}

static void comes_back_as_it_was_written(void **state)
{
    struct folders *f = *state;
    struct state_form form = {.etcd = true,
                              .endpoints = {"https://192.0.2.1:7402", "https://192.0.2.2:7402"},
                              .nendpoints = 2,
                              .root = "/skerry",
                              .ca = "etcd/ca.pem",
                              .cert = "etcd/member.pem",
                              .key = "/elsewhere/member.key"};
    struct state_form back;
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    char paths[3][2 * STATE_PATH_SIZE], want[128];
    struct store_etcd options;

    assert_int_equal(state_form_write(f->one, &form, NULL), 0);
    assert_int_equal(state_form_read(f->one, &back, NULL), 0);
    assert_memory_equal(&back, &form, sizeof(form));
    state_form_options(f->one, &back, paths, urls, &options);
    (void)snprintf(want, sizeof(want), "%s/etcd/ca.pem", f->one);
    assert_string_equal(options.ca_file, want);
    assert_string_equal(options.key_file, "/elsewhere/member.key");
    assert_string_equal(options.endpoints[1], "https://192.0.2.2:7402");
}

static void nonsense_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"v\":1}",
        "{\"v\":1,\"kind\":\"oracle\"}",
        "{\"v\":1,\"kind\":\"etcd\"}",
        "{\"v\":1,\"kind\":\"etcd\",\"endpoints\":[],\"root\":\"/s\",\"ca\":\"a\",\"cert\":\"b\","
        "\"key\":\"c\"}",
        "{\"v\":1,\"kind\":\"etcd\",\"endpoints\":[1],\"root\":\"/s\",\"ca\":\"a\",\"cert\":\"b\","
        "\"key\":\"c\"}",
        "{\"v\":1,\"kind\":\"etcd\",\"endpoints\":[\"https://a:1\"],\"root\":\"/s\",\"ca\":\"a\"}",
    };
    struct folders *f = *state;
    struct state_form form;
    struct state *none = NULL;
    struct sk_err err;
    uv_loop_t loop;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/store.json", f->one);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        assert_int_equal(sys_file_write(path, sk_str(bad[i]), 0600, NULL), 0);
        assert_int_equal(state_form_read(f->one, &form, &err), SK_ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "store.json"));
        assert_int_equal(state_new(&loop, f->one, NULL, NULL, &none, &err), SK_ERR_CORRUPT);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

struct look {
    struct sys_job job;
    struct state *state;
    struct store_revision revision;
    bool done;
};

static void look_run(struct sys_job *job)
{
    struct look *look = (struct look *)job;
    struct store *store = NULL;

    if (state_store(look->state, &store, NULL) == 0) {
        (void)store_revision(store, &look->revision, NULL);
    }
}

static void look_done(struct sys_job *job)
{
    ((struct look *)job)->done = true;
}

static void look(struct state *state, uv_loop_t *loop, struct look *ret)
{
    *ret = (struct look){{look_run, look_done}, state, {{0}, 0}, false};
    assert_true(state_submit(state, &ret->job));
    while (!ret->done) {
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

static void goes_over_to_another_store(void **state)
{
    struct folders *f = *state;
    struct state_form form = {0};
    struct state *s = NULL;
    struct store *fresh = NULL;
    struct look before, after;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(state_new(&loop, f->one, NULL, NULL, &s, NULL), 0);
    look(s, &loop, &before);
    assert_int_equal(store_open_sqlite(f->two, &fresh, NULL), 0);
    state_switch(s, &form, fresh);
    look(s, &loop, &after);
    assert_int_equal(strlen(before.revision.id), 32);
    assert_int_equal(strlen(after.revision.id), 32);
    assert_string_not_equal(before.revision.id, after.revision.id);
    state_switch(s, &form, NULL); /* opened when it is needed: that of its own folder */
    look(s, &loop, &after);
    assert_string_equal(before.revision.id, after.revision.id);
    state_free(s);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Nobody is kept from starting by an etcd that is away: the first job finds that out. */
static void an_etcd_that_is_away_is_no_reason_to_end(void **state)
{
    struct folders *f = *state;
    struct state_form form = {.etcd = true,
                              .endpoints = {"https://127.0.0.1:1"},
                              .nendpoints = 1,
                              .root = "/skerry",
                              .ca = "ca.pem",
                              .cert = "cert.pem",
                              .key = "cert.key"};
    struct state *s = NULL;
    struct look seen;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(state_form_write(f->one, &form, NULL), 0);
    assert_int_equal(state_new(&loop, f->one, NULL, NULL, &s, NULL), 0);
    assert_true(state_form(s)->etcd);
    look(s, &loop, &seen);
    assert_string_equal(seen.revision.id, "");
    state_free(s);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* The loop of a daemon that goes on waits for the end of its control half, with an etcd that fails
 * by then: a watch would take its whole two seconds, and others would judge the node lost. */
static void the_end_waits_for_no_watch(void **state)
{
    struct folders *f = *state;
    struct state_form form = {.etcd = true,
                              .endpoints = {"https://127.0.0.1:1"},
                              .nendpoints = 1,
                              .root = "/skerry",
                              .ca = "ca.pem",
                              .cert = "cert.pem",
                              .key = "cert.key"};
    struct store_revision from = {.number = 1};
    struct state *s = NULL;
    int64_t began;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(state_form_write(f->one, &form, NULL), 0);
    assert_int_equal(state_new(&loop, f->one, NULL, NULL, &s, NULL), 0);
    state_follow(s, &from);
    (void)usleep(100000); /* it is under way */
    began = sys_now_ms();
    state_free(s);
    assert_in_range(sys_now_ms() - began, 0, 1000);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_file_is_sqlite, make, unmake),
        cmocka_unit_test_setup_teardown(comes_back_as_it_was_written, make, unmake),
        cmocka_unit_test_setup_teardown(nonsense_is_refused, make, unmake),
        cmocka_unit_test_setup_teardown(goes_over_to_another_store, make, unmake),
        cmocka_unit_test_setup_teardown(an_etcd_that_is_away_is_no_reason_to_end, make, unmake),
        cmocka_unit_test_setup_teardown(the_end_waits_for_no_watch, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
