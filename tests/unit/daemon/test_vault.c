/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "daemon/vault.h"
#include "sys/file.h"

#define NODES 5

static char top[64];
static char dirs[NODES][96];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(top, sizeof(top), "/tmp/skerry-vault-XXXXXX");
    assert_non_null(mkdtemp(top));
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(dirs[i], sizeof(dirs[i]), "%s/%d", top, i);
        assert_int_equal(mkdir(dirs[i], 0700), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        static const char *const more[] = {"ca.key", "probe.key"};
        assert_int_equal(vault_wipe(dirs[i], NULL), 0);
        for (size_t k = 0; k < SK_ARRAY_LEN(more); k++) {
            char path[640];
            (void)snprintf(path, sizeof(path), "%s/%s", dirs[i], more[k]);
            (void)unlink(path);
        }
        assert_int_equal(rmdir(dirs[i]), 0);
    }
    return rmdir(top);
}

static bool there(int node, const char *name)
{
    char path[640];
    (void)snprintf(path, sizeof(path), "%s/%s", dirs[node], name);
    return access(path, F_OK) == 0;
}

static void put(int node, const char *name, const char *text)
{
    char path[640];
    (void)snprintf(path, sizeof(path), "%s/%s", dirs[node], name);
    assert_int_equal(sys_file_write(path, sk_str(text), 0600, NULL), 0);
}

static void holds(const struct vault *vault, const char *name, const char *want)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_err err = {0};
    int r = vault_get(vault, name, &out, &err);
    if (r < 0) {
        fail_msg("%s: %s", name, err.msg);
    }
    assert_true(sk_str_is(sk_buf_str(&out), want));
    seal_wipe(&out);
}

static struct vault *make(struct seal_code *ret_code)
{
    struct seal_code code;
    struct vault *vault = NULL;
    assert_int_equal(vault_create(dirs[0], "sea", &code, &vault, NULL), 0);
    assert_int_equal(vault_put(vault, VAULT_CA_KEY, SK_STR("the CA's key"), NULL), 0);
    if (ret_code) {
        *ret_code = code;
    }
    return vault;
}

static const char *const names[NODES] = {"node-0", "node-1", "node-2", "node-3", "node-4"};

/* What node `from` keeps for node 0, offered to it. Returns the last answer. */
static int offer(struct vault *to, int from, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf json = SK_BUF_INIT;
    const struct sk_node *list = NULL;
    int r = 0;
    assert_int_equal(vault_held_get(dirs[from], names[0], &json, NULL), 0);
    assert_int_equal(sk_json_read(arena, "shares", sk_buf_str(&json), NULL, &list, NULL), 0);
    for (uint32_t i = 0; i < list->count; i++) {
        r = vault_offer(to, names[from], list->u.items[i].u.text, err);
    }
    seal_wipe(&json);
    sk_arena_free(arena);
    return r;
}

/* A start of node 0 with `others` (a bit each) in reach: does its vault open? */
static bool opens(unsigned others)
{
    struct vault *vault = NULL;
    struct sk_err err = {0};
    bool open;
    if (vault_load(dirs[0], "sea", &vault, &err) < 0) {
        return false;
    }
    for (int i = 1; i < NODES; i++) {
        if (others & (1U << i)) {
            (void)offer(vault, i, &err);
        }
    }
    open = vault_is_open(vault);
    if (open) {
        holds(vault, VAULT_CA_KEY, "the CA's key");
    }
    vault_free(vault);
    return open;
}

static void one_node(void **state)
{
    struct vault *vault = make(NULL), *again = NULL;
    struct sk_buf key = SK_BUF_INIT;
    struct seal_code code;
    struct sk_err err = {0};
    struct stat st;
    char path[640];
    (void)state;
    assert_true(vault_is_open(vault));
    holds(vault, VAULT_CA_KEY, "the CA's key");
    assert_int_equal(vault_get(vault, VAULT_CLUSTER_KEY, &key, NULL), 0);
    assert_int_equal(key.len, 64);
    seal_wipe(&key);
    assert_int_equal(vault_get(vault, "peer.key", &key, &err), SK_ERR_NOT_FOUND);
    assert_int_equal(vault_create(dirs[0], "sea", &code, &again, &err), SK_ERR_CONFLICT);
    (void)snprintf(path, sizeof(path), "%s/unseal.key", dirs[0]);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    vault_free(vault);
    assert_true(opens(0));
    put(0, "ca.key.sealed", "{\"v\":1}");
    assert_int_equal(vault_load(dirs[0], "sea", &again, NULL), 0);
    assert_int_equal(vault_get(again, VAULT_CA_KEY, &key, &err), SK_ERR_CORRUPT);
    vault_free(again);
    put(0, "unseal.key", "zz");
    assert_int_equal(vault_load(dirs[0], "sea", &again, &err), SK_ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "unseal.key"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(vault_load(dirs[0], "sea", &again, &err), SK_ERR_NOT_FOUND);
    assert_non_null(strstr(err.fix, "recover"));
}

static void old_folder(void **state)
{
    struct vault *vault = NULL;
    struct vault_recovery rec;
    struct seal_code code;
    (void)state;
    /* as it was, and as a crash in the middle of the first start leaves it */
    for (int round = 0; round < 3; round++) {
        if (round == 0) {
            put(0, "ca.key", "the CA's key");
        }
        put(0, "probe.key", "00ff");
        if (round == 2) {
            put(0, "ca.key", "put back by hand");
        }
        assert_int_equal(vault_load(dirs[0], "sea", &vault, NULL), 0);
        assert_true(vault_is_open(vault));
        holds(vault, VAULT_CA_KEY, round == 2 ? "put back by hand" : "the CA's key");
        holds(vault, VAULT_PROBE_KEY, "00ff");
        assert_false(there(0, "ca.key") || there(0, "probe.key"));
        vault_free(vault);
    }
    assert_int_equal(vault_load(dirs[0], "sea", &vault, NULL), 0);
    assert_int_equal(vault_recovery(dirs[0], &rec, NULL), SK_ERR_NOT_FOUND);
    assert_int_equal(vault_recovery_new(vault, 1000, &code, NULL), 0);
    assert_int_equal(vault_recovery(dirs[0], &rec, NULL), 0);
    vault_free(vault);
}

/* Each of the others keeps its share; `in_force` is the generation that went before. */
static void keep(const struct vault_split *split, const char *in_force)
{
    for (unsigned i = 1; i < split->count; i++) {
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(vault_held_put(dirs[i], "sea", names[0], sk_buf_str(&split->shares[i]),
                                            in_force, NULL),
                             0);
        }
    }
}

/* Three, then five, then another three; killed after every single step: always a vault that opens.
 */
static void one_three_five(void **state)
{
    struct vault *vault = make(NULL);
    struct vault_split lost, three, five;
    char in_force[SEAL_ID_SIZE];
    (void)state;
    assert_int_equal(vault_split(vault, 3, &lost, NULL), 0); /* killed before all had confirmed */
    assert_int_equal(
        vault_held_put(dirs[1], "sea", names[0], sk_buf_str(&lost.shares[1]), "", NULL), 0);
    assert_true(opens(0));
    assert_int_equal(vault_split(vault, 3, &three, NULL), 0);
    vault_generation(dirs[0], in_force);
    assert_string_equal(in_force, "");
    keep(&three, in_force);
    assert_true(opens(0));
    assert_false(vault_is_split(vault));
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(vault_split_commit(vault, &three, names, NULL), 0);
    }
    assert_false(there(0, "unseal.key"));
    assert_true(vault_is_split(vault) && vault_is_split_among(vault, names, 3));
    assert_false(vault_is_split_among(vault, names, 4) ||
                 vault_is_split_among(vault, names + 1, 3));
    assert_false(opens(0)); /* a stolen server opens nothing */
    assert_true(opens(2) && opens(4) && opens(6));
    assert_false(opens(8)); /* one that keeps none */
    /* five: a member keeps both until it hears that the former is out of force */
    assert_int_equal(vault_split(vault, 5, &five, NULL), 0);
    vault_generation(dirs[0], in_force);
    assert_string_equal(in_force, three.generation);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(
            vault_held_put(dirs[i], "sea", names[0], sk_buf_str(&five.shares[i]), in_force, NULL),
            0);
        assert_true(opens(2) && opens(4));
    }
    assert_int_equal(vault_split_commit(vault, &five, names, NULL), 0);
    assert_false(opens(2) || opens(4)); /* three of five now: two others */
    assert_true(opens(6) && opens(24) && opens(18));
    keep(&five, five.generation);
    assert_true(opens(6) && opens(24));
    {
        struct sk_buf json = SK_BUF_INIT;
        assert_int_equal(vault_held_get(dirs[1], names[0], &json, NULL), 0);
        assert_null(strstr(json.ptr, three.generation)); /* the former ones went */
        sk_buf_release(&json);
    }
    vault_split_release(&lost);
    vault_split_release(&three);
    vault_split_release(&five);
    vault_free(vault);
}

static void wrong_offers(void **state)
{
    struct vault *vault = make(NULL), *one = NULL;
    struct vault_split old, split;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(vault_split(vault, 3, &old, NULL), 0);
    assert_int_equal(vault_split(vault, 3, &split, NULL), 0);
    keep(&split, "");
    assert_int_equal(vault_split_commit(vault, &split, names, NULL), 0);
    assert_int_equal(vault_load(dirs[0], "sea", &one, NULL), 0);
    assert_int_equal(vault_offer(one, "thief", sk_buf_str(&old.shares[1]), &err), SK_ERR_CONFLICT);
    assert_int_equal(vault_offer(one, "liar", SK_STR("{}"), &err), SK_ERR_INPUT);
    assert_int_equal(vault_offer(one, "echo", sk_buf_str(&split.shares[0]), &err), 0);
    assert_false(vault_is_open(one)); /* the own share twice is one */
    assert_int_equal(offer(one, 2, &err), 0);
    assert_true(vault_is_open(one));
    vault_free(one);
    /* and what others are asked to keep */
    assert_int_equal(vault_held_put(dirs[1], "sea", "../x", sk_buf_str(&old.shares[1]), "", &err),
                     SK_ERR_INPUT);
    assert_int_equal(vault_held_put(dirs[1], "sea", names[2], SK_STR("[]"), "", &err),
                     SK_ERR_INPUT);
    assert_int_equal(
        vault_held_put(dirs[1], "land", names[2], sk_buf_str(&old.shares[1]), "", &err),
        SK_ERR_CONFLICT);
    assert_true(opens(2)); /* nothing of that touched what is kept */
    vault_split_release(&old);
    vault_split_release(&split);
    vault_free(vault);
}

/* Another control node gets all there is, and nothing that is open but by the key. */
static void another_folder(void **state)
{
    struct vault *vault = make(NULL), *other = NULL;
    struct sk_buf files = SK_BUF_INIT, key = SK_BUF_INIT;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(vault_export(dirs[0], &files, NULL), 0);
    assert_int_equal(vault_key(vault, &key, NULL), 0);
    assert_null(strstr(files.ptr, key.ptr));
    assert_int_equal(vault_import(dirs[1], sk_buf_str(&files), NULL), 0);
    assert_int_equal(vault_load(dirs[1], "sea", &other, &err), SK_ERR_NOT_FOUND);
    put(1, "unseal.key", key.ptr);
    assert_int_equal(vault_load(dirs[1], "sea", &other, NULL), 0);
    holds(other, VAULT_CA_KEY, "the CA's key");
    assert_int_equal(vault_import(dirs[1], sk_buf_str(&files), &err), SK_ERR_CONFLICT);
    vault_free(other);
    vault_free(vault);
    sk_buf_release(&files);
    seal_wipe(&key);
}

static void back_to_one(void **state)
{
    struct vault *vault = make(NULL);
    struct vault_split split;
    (void)state;
    assert_int_equal(vault_split(vault, 3, &split, NULL), 0);
    keep(&split, "");
    assert_int_equal(vault_split_commit(vault, &split, names, NULL), 0);
    assert_int_equal(vault_join(vault, NULL), 0);
    assert_int_equal(vault_wipe(dirs[1], NULL), 0);
    assert_int_equal(vault_wipe(dirs[2], NULL), 0);
    assert_true(opens(0));
    assert_false(there(0, "share.json") || there(1, "held"));
    vault_split_release(&split);
    vault_free(vault);
}

static void by_the_code(void **state)
{
    struct seal_code code, other, newer;
    struct vault *vault = make(&code), *again = NULL;
    struct vault_recovery rec, taken;
    struct vault_split split;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(vault_split(vault, 3, &split, NULL), 0);
    keep(&split, "");
    assert_int_equal(vault_split_commit(vault, &split, names, NULL), 0);
    assert_false(opens(0)); /* the two others are lost */
    seal_code_new(&other);
    assert_int_equal(vault_recover(dirs[0], "sea", &other, &again, &err), SK_ERR_DENIED);
    assert_int_equal(vault_recover(dirs[0], "sea", &code, &again, &err), 0);
    holds(again, VAULT_CA_KEY, "the CA's key");
    vault_free(again);
    assert_false(opens(0)); /* nothing was written */
    assert_int_equal(vault_recover(dirs[0], "sea", &code, &again, &err), 0);
    assert_int_equal(vault_join(again, NULL), 0);
    assert_true(opens(0));
    /* another code: the one before opens no more; other nodes take it over, but never an older */
    assert_int_equal(vault_recovery(dirs[0], &rec, NULL), 0);
    assert_int_equal(vault_recovery_new(again, rec.made_ms - 5, &newer, NULL), 0);
    vault_free(again);
    assert_int_equal(vault_recover(dirs[0], "sea", &code, &again, &err), SK_ERR_DENIED);
    assert_int_equal(vault_recover(dirs[0], "sea", &newer, &again, &err), 0);
    vault_free(again);
    assert_int_equal(vault_recovery(dirs[0], &taken, NULL), 0);
    assert_true(taken.made_ms > rec.made_ms);
    /* a node that still has the former takes over the newer one, never the other way round */
    assert_int_equal(vault_recovery_take(vault, &rec, NULL), 0);
    assert_int_equal(vault_recover(dirs[0], "sea", &code, &again, &err), SK_ERR_DENIED);
    rec.made_ms = taken.made_ms + 1;
    assert_int_equal(vault_recovery_take(vault, &rec, NULL), 0);
    assert_int_equal(vault_recover(dirs[0], "sea", &code, &again, &err), 0);
    vault_free(again);
    vault_split_release(&split);
    vault_free(vault);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(one_node),       T(old_folder),  T(one_three_five), T(wrong_offers),
        T(another_folder), T(back_to_one), T(by_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
