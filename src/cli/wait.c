/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/units.h"
#include "sys/clock.h"

#define POLL_MS 200
#define TALK_MS 2000
#define CALL_TIMEOUT_MS 10000
#define WAIT_DEFAULT_MS 300000
/* An ingress takes a new view within a second; one that has not by now has a trouble of its own, of
 * which the events tell, and the replicas are none the worse for it. */
#define INGRESS_MS 10000
/* A replica may fail and be started again; one that failed this often, or stays failed this long,
 * is not coming. */
#define RESTARTS_MAX 3
#define FAILED_MS 5000

struct tally {
    size_t wanted, healthy;
    const struct plan_placement *missing; /* one that is not healthy yet */
    const struct sk_node *failed;         /* one that failed */
    bool hopeless;                        /* ... more than RESTARTS_MAX times */
    const struct sk_node *pending;        /* the instance of `missing`, if there is one */
};

static bool is_for(const struct sk_node *instance, const struct plan_placement *p)
{
    return sk_str_eq(sk_map_str(instance, "service", SK_STR("")), p->service) &&
           sk_str_eq(sk_map_str(instance, "project", SK_STR("")), p->project) &&
           sk_map_int(instance, "replica", -1) == p->replica &&
           sk_map_bool(instance, "current", false);
}

/* Running and healthy, or at its good end: its node does not start it again. */
static bool is_up(const struct sk_node *instance)
{
    struct sk_str state = sk_map_str(instance, "state", SK_STR(""));

    return (sk_map_bool(instance, "healthy", false) && sk_str_is(state, "running")) ||
           (sk_str_is(state, "exited") && sk_map_int(instance, "exit", -1) == 0);
}

static void tally_up(const struct plan *plan, const struct sk_node *instances, struct tally *t)
{
    for (size_t i = 0; i < plan->nplacements; i++) {
        const struct plan_placement *p = &plan->placements[i];
        const struct sk_node *mine = NULL;
        for (uint32_t k = 0; instances && k < instances->count && !mine; k++) {
            if (is_for(&instances->u.items[k], p)) {
                mine = &instances->u.items[k];
            }
        }
        t->wanted++;
        if (mine && is_up(mine)) {
            t->healthy++;
            continue;
        }
        if (!t->missing) {
            t->missing = p;
            t->pending = mine;
        }
        if (mine && sk_str_is(sk_map_str(mine, "state", SK_STR("")), "failed") && !t->hopeless) {
            t->failed = mine;
            t->hopeless = sk_map_int(mine, "restarts", 0) >= RESTARTS_MAX;
        }
    }
}

static int say_failed(const struct sk_node *instance, struct sk_err *err)
{
    const struct sk_node *tail = sk_map_seq(instance, "log_tail");
    struct sk_str reason = sk_map_str(instance, "reason", SK_STR("no reason given"));

    for (uint32_t i = 0; tail && i < tail->count; i++) {
        if (tail->u.items[i].kind == SK_STRING) {
            (void)fprintf(stderr, "  | %.*s\n", SK_PRI(tail->u.items[i].u.text));
        }
    }
    (void)sk_err_set(err, SK_ERR_ENGINE, "%.*s/%.*s #%" PRId64 " fails on %.*s: %.*s",
                     SK_PRI(sk_map_str(instance, "project", SK_STR(""))),
                     SK_PRI(sk_map_str(instance, "service", SK_STR(""))),
                     sk_map_int(instance, "replica", 0),
                     SK_PRI(sk_map_str(instance, "node", SK_STR(""))), SK_PRI(reason));
    return sk_err_fix(err, "skerry logs %.*s/%.*s, then correct the declaration and apply again",
                      SK_PRI(sk_map_str(instance, "project", SK_STR(""))),
                      SK_PRI(sk_map_str(instance, "service", SK_STR(""))));
}

static int look(struct api_client *client, const struct plan *plan, struct sk_arena *arena,
                struct tally *t, struct sk_err *err)
{
    const struct sk_node *root = NULL;
    int r =
        api_call(client, "GET", "/v1/ps", SK_STR_NULL, CALL_TIMEOUT_MS, arena, &root, NULL, err);

    if (r == 0) {
        tally_up(plan, sk_map_seq(root, "instances"), t);
    }
    return r;
}

static void talk(const struct tally *t, int64_t waited_ms)
{
    const struct plan_placement *m = t->missing;
    struct sk_str state =
        t->pending ? sk_map_str(t->pending, "state", SK_STR("")) : SK_STR("not started");

    (void)fprintf(stderr,
                  "%zu of %zu healthy after %" PRId64 " s; waiting for %.*s/%.*s #%" PRId64
                  " on %.*s: %.*s\n",
                  t->healthy, t->wanted, waited_ms / 1000, SK_PRI(m->project), SK_PRI(m->service),
                  m->replica, SK_PRI(m->node), SK_PRI(state));
}

/* How many ingresses do not serve yet what runs; `ret_names` gets their sites. */
static int behind(struct api_client *client, struct sk_buf *ret_names, size_t *ret_count,
                  struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int r =
        api_call(client, "GET", "/v1/sites", SK_STR_NULL, CALL_TIMEOUT_MS, arena, &root, NULL, err);
    const struct sk_node *sites = r == 0 ? sk_map_seq(root, "sites") : NULL;
    size_t count = 0;

    sk_buf_clear(ret_names);
    for (uint32_t i = 0; sites && i < sites->count; i++) {
        if (sk_map_bool(&sites->u.items[i], "ingress_behind", false)) {
            sk_buf_printf(ret_names, "%s%.*s", count ? ", " : "",
                          SK_PRI(sk_map_str(&sites->u.items[i], "site", SK_STR(""))));
            count++;
        }
    }
    sk_arena_free(arena);
    *ret_count = count;
    return r;
}

/* What is healthy is of no use to anybody before the ways in lead to it. */
static int wait_served(struct api_client *client, int64_t until_ms, struct sk_err *err)
{
    struct sk_buf names = SK_BUF_INIT;
    size_t count = 0;
    int r = behind(client, &names, &count, err);

    while (r == 0 && count > 0 && sys_now_ms() < until_ms) {
        (void)usleep(POLL_MS * 1000);
        r = behind(client, &names, &count, err);
    }
    if (r == 0 && count > 0) {
        (void)fprintf(stderr, "the ingress of %s does not serve it yet: skerry events\n",
                      sk_buf_str(&names).ptr);
    }
    sk_buf_release(&names);
    return r;
}

int wait_healthy(struct api_client *client, const struct plan *plan, int64_t timeout_ms,
                 struct sk_err *err)
{
    int64_t start = sys_now_ms();
    int64_t talked = start;
    int64_t failed_since = 0;

    for (;;) {
        struct sk_arena *arena = sk_arena_new();
        struct tally t = {0};
        int64_t now;
        int r = look(client, plan, arena, &t, err);

        now = sys_now_ms();
        if (r == 0 && t.healthy == t.wanted) {
            (void)fprintf(stderr, "%zu of %zu healthy after %.1f s\n", t.healthy, t.wanted,
                          (double)(now - start) / 1000.0);
            sk_arena_free(arena);
            return wait_served(client, now + INGRESS_MS, err);
        }
        failed_since = !t.failed ? 0 : failed_since ? failed_since : now;
        if (r == 0 && t.failed && (t.hopeless || now - failed_since >= FAILED_MS)) {
            r = say_failed(t.failed, err);
        } else if (r == 0 && now - start > timeout_ms) {
            (void)sk_err_set(err, SK_ERR_TIMEOUT,
                             "%zu of %zu replicas are not healthy after %" PRId64 " s",
                             t.wanted - t.healthy, t.wanted, timeout_ms / 1000);
            r = sk_err_fix(err, "it goes on without waiting: skerry ps");
        } else if (r == 0 && now - talked >= TALK_MS) {
            talked = now;
            talk(&t, now - start);
        }
        sk_arena_free(arena);
        if (r < 0) {
            return r;
        }
        (void)usleep(POLL_MS * 1000);
    }
}

int wait_as_told(const struct cli *cli, struct api_client *client, const struct plan *plan,
                 struct sk_err *err)
{
    const char *timeout = cli_value(cli, "timeout");
    int64_t ms = WAIT_DEFAULT_MS;

    if (timeout && sk_parse_duration(sk_str(timeout), &ms, err) < 0) {
        err->code = SK_ERR_USAGE;
        return sk_err_wrap(err, "--timeout");
    }
    return wait_healthy(client, plan, ms, err);
}
