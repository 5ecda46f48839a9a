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
#include "daemon/forward.h"
#include "sys/file.h"

/* Calls that a standby passes on: in whose name, with which key, and what is said when nobody is
 * there. That they are passed on is shown with real control nodes (tests/e2e/ha.py). */

static void the_name_comes_through(void **state)
{
    static const char *const names[] = {"root",    "key:ci",          "uid:1000",
                                        "key:a b", "key:\xc3\xa9%41", "a\r\nX-Evil: 1"};

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        struct sk_arena *arena = sk_arena_new();
        struct sk_buf text = SK_BUF_INIT;
        enum api_role role = API_NOBODY;
        struct sk_str who = SK_STR("");

        forward_write_behalf(API_OPERATOR, sk_str(names[i]), &text);
        assert_null(strpbrk(text.ptr, "\r\n"));
        assert_true(forward_read_behalf(sk_buf_str(&text), arena, &role, &who));
        assert_int_equal(role, API_OPERATOR);
        assert_true(sk_str_is(who, names[i]));
        sk_buf_release(&text);
        sk_arena_free(arena);
    }
}

static void other_texts_are_nobody(void **state)
{
    static const char *const bad[] = {
        "",          "admin",    "admin ",    "king root", "nobody root", " root",
        "admin a b", "admin %4", "admin %zz", "admin %00", "admin\troot"};
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    enum api_role role = API_VIEWER;
    struct sk_str who = SK_STR("me");

    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        assert_false(forward_read_behalf(sk_str(bad[i]), arena, &role, &who));
    }
    assert_false(forward_read_behalf(SK_STR_NULL, arena, &role, &who));
    sk_buf_adds(&text, "admin ");
    for (int i = 0; i < 300; i++) {
        sk_buf_addc(&text, 'x');
    }
    assert_false(forward_read_behalf(sk_buf_str(&text), arena, &role, &who));
    assert_int_equal(role, API_VIEWER);
    assert_true(sk_str_is(who, "me"));
    sk_buf_release(&text);
    sk_arena_free(arena);
}

static void the_key_is_made_once(void **state)
{
    static const char *const files[] = {"ca.key.sealed", "cluster.key.sealed", "peer.key.sealed",
                                        "unseal.key", "recovery.json"};
    char dir[] = "/tmp/skerry-test-XXXXXX";
    char first[PEER_TOKEN_SIZE] = "", again[PEER_TOKEN_SIZE] = "", path[128];
    struct seal_code code;
    struct vault *vault = NULL;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(vault_create(dir, "test", &code, &vault, NULL), 0);
    assert_int_equal(peer_token_load(vault, false, first, NULL), SK_ERR_NOT_FOUND);
    assert_string_equal(first, "");
    assert_int_equal(peer_token_load(vault, true, first, NULL), 0);
    assert_int_equal(strlen(first), PEER_TOKEN_SIZE - 1);
    assert_int_equal(peer_token_load(vault, true, again, NULL), 0);
    assert_string_equal(first, again);
    assert_int_equal(vault_put(vault, VAULT_PEER_KEY, SK_STR("00"), NULL), 0);
    assert_int_equal(peer_token_load(vault, true, again, NULL), SK_ERR_CORRUPT);
    vault_free(vault);
    for (size_t i = 0; i < SK_ARRAY_LEN(files); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void nobody_there_was_told_nothing(void **state)
{
    struct forward_request request = {.address = "127.0.0.1",
                                      .port = 1,
                                      .ca_file = "/nonexistent",
                                      .token = "skp1.00",
                                      .method = SK_STR("POST"),
                                      .target = SK_STR("/v1/apply"),
                                      .body = SK_STR("{}"),
                                      .role = API_ADMIN,
                                      .who = SK_STR("root"),
                                      .timeout_ms = 3000};
    struct forward_answer answer;
    struct sk_err err = {0};

    assert_int_equal(forward_call(&request, &answer, &err), SK_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "127.0.0.1"));
    sk_buf_release(&answer.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_comes_through),
        cmocka_unit_test(other_texts_are_nobody),
        cmocka_unit_test(the_key_is_made_once),
        cmocka_unit_test(nobody_there_was_told_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
