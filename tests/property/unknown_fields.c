/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "fake_internal.h"
#include "scenes.h"

/*
 * Versions N and N+1 share one store: what this version does not know in a record is still there
 * after it rewrote it. A cluster is made, a member is added at each map of every record, and then
 * everything is asked of control that rewrites records.
 *
 * Left out: `project` and `spec` (declarations, which are strict), `labels`, `digests` and `moving`
 * (their members are data). A new plan is another document: of `plan` only the record itself
 * counts.
 */
#define MEMBER "zz_of_a_later_version"
#define VALUE "{\"a\":[1,{\"b\":null}]}"

static bool is_strict(struct sk_str key)
{
    static const char *const names[] = {"project", "spec", "labels", "digests", "moving"};
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        if (sk_str_is(key, names[i])) {
            return true;
        }
    }
    return false;
}

static void extend(struct sk_jw *w, const struct sk_node *n)
{
    if (n->kind == SK_SEQ) {
        sk_jw_arr(w);
        for (uint32_t i = 0; i < n->count; i++) {
            extend(w, &n->u.items[i]);
        }
        sk_jw_arr_end(w);
    } else if (n->kind == SK_MAP) {
        sk_jw_obj(w);
        for (uint32_t i = 0; i < n->count; i++) {
            const struct sk_member *m = &n->u.members[i];
            sk_jw_keystr(w, m->key);
            (is_strict(m->key) && m->value.kind == SK_MAP ? sk_jw_node : extend)(w, &m->value);
        }
        sk_jw_key(w, MEMBER);
        sk_jw_raw(w, SK_STR(VALUE));
        sk_jw_obj_end(w);
    } else {
        sk_jw_node(w, n);
    }
}

static const struct sk_node *parse(struct sk_arena *arena, const char *text)
{
    const struct sk_node *root;
    assert_int_equal(sk_json_read(arena, "record", sk_str(text), NULL, &root, NULL), 0);
    return root;
}

static const char *const kinds[] = {"cluster", "sites",   "nodes",     "links", "projects",
                                    "plan",    "overlay", "instances", "certs", "tokens",
                                    "leader",  "leases",  "return"}; /* keys, revoked and events are
                                                                        never rewritten */

struct before {
    char key[300];
    char *value; /* as of the last look; NULL: it is gone */
};

struct all {
    struct before *items;
    size_t count, cap;
    size_t rewritten[SK_ARRAY_LEN(kinds)];
    char plan[80];
};

static void extend_all(struct fake *f, struct all *all)
{
    f->revision++;
    for (size_t i = 0; i < f->nrecords; i++) {
        struct fake_record *r = &f->records[i];
        struct sk_arena *arena = sk_arena_new();
        struct sk_buf out = SK_BUF_INIT;
        struct sk_jw w;
        sk_jw_init(&w, &out);
        extend(&w, parse(arena, r->value));
        free(r->value);
        r->value = sk_buf_steal(&out, NULL);
        r->mod_rev = f->revision;
        sk_arena_free(arena);
        SK_GROW(all->items, all->count, all->cap);
        struct before *b = &all->items[all->count++];
        (void)snprintf(b->key, sizeof(b->key), "%s", r->key);
        b->value = sk_xstrdup(r->value);
    }
    fake_restart_control(f);
}

static bool same_row(const struct sk_node *a, const struct sk_node *b)
{
    static const char *const names[] = {"serial", "project", "service", "replica", "phase"};
    bool any = false;
    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        const struct sk_node *va = sk_map_get(a, sk_str(names[i]));
        const struct sk_node *vb = sk_map_get(b, sk_str(names[i]));
        if ((va == NULL) != (vb == NULL) || (va != NULL && !sk_str_eq(va->u.text, vb->u.text))) {
            return false;
        }
        any = any || va != NULL;
    }
    return any;
}

static void still_there(const char *key, const struct sk_node *old, const struct sk_node *now)
{
    if (old->kind == SK_MAP && now->kind == SK_MAP) {
        if (sk_map_get(old, SK_STR(MEMBER)) != NULL) {
            const struct sk_node *m = sk_map_get(now, SK_STR(MEMBER));
            if (m == NULL) {
                print_error("%s lost a member of a map\n", key);
            }
            assert_non_null(m);
            struct sk_buf text = SK_BUF_INIT;
            assert_int_equal(sk_json_canonical(m, &text, NULL), 0);
            assert_string_equal(text.ptr, VALUE);
            sk_buf_release(&text);
        }
        for (uint32_t i = 0; i < old->count; i++) {
            const struct sk_member *m = &old->u.members[i];
            const struct sk_node *other = sk_map_get(now, m->key);
            if (other != NULL && !sk_str_is(m->key, "plan") && !sk_str_is(m->key, MEMBER)) {
                still_there(key, &m->value, other);
            }
        }
    } else if (old->kind == SK_SEQ && now->kind == SK_SEQ) {
        for (uint32_t i = 0; i < old->count; i++) {
            for (uint32_t k = 0; k < now->count; k++) {
                if (old->u.items[i].kind == SK_MAP && now->u.items[k].kind == SK_MAP &&
                    same_row(&old->u.items[i], &now->u.items[k])) {
                    still_there(key, &old->u.items[i], &now->u.items[k]);
                }
            }
        }
    }
}

/* Against how it was at the last look. What was removed since is no longer looked at: under the
 * same key comes another record. */
static void look(struct fake *f, struct all *all)
{
    const char *plan = control_plan(f->c)->id;
    bool planned = strcmp(plan, all->plan) != 0;
    (void)snprintf(all->plan, sizeof(all->plan), "%s", plan);
    for (size_t i = 0; i < all->count; i++) {
        struct before *b = &all->items[i];
        bool ended = planned && strstr(b->key, "/overlay") != NULL; /* with the plan it lay over */
        const char *now = b->value != NULL && !ended ? fake_get(f, b->key) : NULL;
        if (now == NULL) {
            free(b->value);
            b->value = NULL;
            continue;
        }
        if (strcmp(now, b->value) == 0) {
            continue;
        }
        struct sk_arena *arena = sk_arena_new();
        struct sk_str kind;
        struct sk_str rest;
        still_there(b->key, parse(arena, b->value), parse(arena, now));
        (void)sk_str_cut(sk_str(b->key + strlen("/skerry/v1/")), '/', &kind, &rest);
        for (size_t k = 0; k < SK_ARRAY_LEN(kinds); k++) {
            all->rewritten[k] += sk_str_is(kind, kinds[k]);
        }
        free(b->value);
        b->value = sk_xstrdup(now);
        sk_arena_free(arena);
    }
}

static void all_free(struct all *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->items[i].value);
    }
    free(all->items);
}

#define BOTH(image)                                                                                \
    PROJECT("shop", SERVICE("web", image, "6",                                                     \
                            SURVIVE) "," SERVICE("worker", "w:1", "1",                             \
                                                 ",\"x-skerry\":{\"exclusive\":true,\"survive\":{" \
                                                 "\"sites\":1}}"))

static void ok(struct fake *f, uint64_t request)
{
    const struct fake_reply *r = fake_wait(f, request);
    if (r->code != 0) {
        print_error("%s\n", r->msg);
    }
    assert_int_equal(r->code, 0);
}

static uint64_t ask_return(struct fake *f, bool hold)
{
    struct control_request r = {.kind = CONTROL_REQ_RETURN};
    r.u.ret.hold = hold;
    r.u.ret.go = !hold;
    r.u.ret.max_moves = r.u.ret.delay_ms = -1;
    r.u.ret.automatic = -1;
    return fake_request(f, &r);
}

static void renew(struct fake *f, const char *node)
{
    struct control_event ev = {.kind = CONTROL_EV_RENEW};
    ev.u.renew.request = f->next_request++;
    ev.u.renew.node = sk_str(node);
    ev.u.renew.csr = SK_STR("csr");
    fake_step(f, &ev);
    fake_run(f, 500);
}

/* Everything that rewrites a record. fra is away all the while, until it returns. */
static void rewrite(struct fake *f, struct all *all, unsigned first)
{
    fake_kill(f, "par-1"); /* another overlay; a drain ends it */
    fake_run(f, 5000);
    look(f, all);
    fake_start(f, "par-1");
    fake_run(f, 3000);
    for (unsigned k = 0; k < 7; k++) {
        switch ((first + k) % 7) {
        case 0:
            ok(f, fake_set(f, CONTROL_REQ_SITE_SET, "ams", "", "{\"provider\":\"p\"}"));
            break;
        case 1:
            ok(f, fake_set(f, CONTROL_REQ_NODE_SET, "ams-1", "", "{\"labels\":{\"a\":\"b\"}}"));
            break;
        case 2:
            ok(f, fake_set(f, CONTROL_REQ_LINK_SET, "ams", "par", "{\"rtt_ms\":9}"));
            break;
        case 3:
            renew(f, "par-1");
            break;
        case 4:
            ok(f, fake_target(f, CONTROL_REQ_DRAIN, "par-2", false, true));
            fake_run(f, 3000);
            look(f, all);
            ok(f, fake_target(f, CONTROL_REQ_UNDRAIN, "par-2", false, false));
            break;
        case 5:
            ok(f, ask_return(f, true));
            break;
        case 6: {
            struct control_join j = {.token_hash = SK_STR("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
                                                          "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
                                     .csr = SK_STR("csr"),
                                     .node = SK_STR("par-9"),
                                     .site = SK_STR("par"),
                                     .address = SK_STR("192.0.2.99"),
                                     .machine_id = SK_STR("m9"),
                                     .incarnation = SK_STR("inc"),
                                     .cpus_nano = 1000000000,
                                     .memory_bytes = 1 << 30};
            assert_int_equal(fake_wait(f, fake_join_raw(f, &j))->code, 0);
            break;
        }
        }
        look(f, all);
    }
}

static void nothing_unknown_is_lost(void **state)
{
    for (unsigned seed = 0; seed < 7; seed++) {
        struct fake *f = fake_new(11 + seed);
        struct all all = {0};
        static char hash[65];
        memset(hash, 'b', 64);
        fake_three_sites(f, 2);
        ok(f, fake_set(f, CONTROL_REQ_LINK_SET, "ams", "par", "{\"price_per_gb\":1}"));
        ok(f, fake_token(f, hash, "par", "node", CONTROL_TOKEN_TTL_MAX_MS));
        ok(f, ask_return(f, true));
        fake_must_apply(f, BOTH("web:1"));
        fake_run(f, 5000);
        fake_isolate(f, "fra", true);
        fake_run(f, 8000);
        extend_all(f, &all);
        (void)snprintf(all.plan, sizeof(all.plan), "%s", control_plan(f->c)->id);
        fake_run(f, 12000);
        rewrite(f, &all, seed);
        look(f, &all);
        fake_isolate(f, "fra", false);
        ok(f, ask_return(f, false));
        fake_run(f, 40000);
        look(f, &all);
        fake_must_apply(f, BOTH("web:2"));
        fake_run(f, 10000);
        fake_must_apply(f, PROJECT("other", SERVICE("x", "x:1", "1", "")));
        ok(f, fake_target(f, CONTROL_REQ_PROJECT_DELETE, "other", false, true)); /* cluster */
        fake_must_apply(f, WEB("1", "web:3"));
        fake_run(f, 10000);
        look(f, &all);
        for (size_t k = 0; k < SK_ARRAY_LEN(kinds); k++) {
            if (all.rewritten[k] == 0) {
                print_error("seed %u: no record of kind %s was rewritten\n%s\n", seed, kinds[k],
                            f->trace.ptr);
            }
            assert_true(all.rewritten[k] > 0);
        }
        assert_string_equal(f->broken, "");
        all_free(&all);
        fake_free(f);
    }
}

/* The record of a drill, at each change of its phase, and in its report. */
static void nothing_unknown_of_a_drill_is_lost(void **state)
{
    struct fake *f = fake_new(31);
    struct all all = {0};
    char *last = NULL;

    fake_three_sites(f, 2);
    fake_must_apply(f, BOTH("web:1"));
    fake_run(f, 15000);
    ok(f, fake_drill(f, "fra", 20000, 1, false));
    extend_all(f, &all);
    (void)snprintf(all.plan, sizeof(all.plan), "%s", control_plan(f->c)->id);
    for (int i = 0; i < 1000 && fake_get(f, "/skerry/v1/drill") != NULL; i++) {
        free(last);
        last = sk_xstrdup(fake_get(f, "/skerry/v1/drill"));
        fake_run(f, 100);
        look(f, &all);
    }
    assert_non_null(last);
    assert_non_null(strstr(last, "\"phase\":\"return\""));
    struct sk_arena *arena = sk_arena_new();
    const char *report = fake_get(f, "/skerry/v1/drills/000001");
    assert_non_null(report);
    still_there("report", parse(arena, last), parse(arena, report));
    assert_non_null(sk_map_get(parse(arena, report), SK_STR(MEMBER)));
    free(last);
    sk_arena_free(arena);
    all_free(&all);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_unknown_is_lost),
                                       cmocka_unit_test(nothing_unknown_of_a_drill_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
