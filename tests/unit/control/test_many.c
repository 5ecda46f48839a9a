/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "control/control.h"

/*
 * What one node's word costs control must not grow with the number of nodes: with ten times as many
 * it may cost a little more (searches, caches), never ten times. The times are of this thread's
 * processor alone, each the least of several rounds.
 */
#define FEW 200
#define MANY 2000
#define SITES 10
#define TIMES_MAX 4.0

struct many {
    struct control *c;
    struct control_commands out;
    struct sk_arena *arena;
    struct control_record *records;
    size_t nrecords;
    int64_t now_ms, seq;
    size_t count, assigned;
    char (*names)[16];
};

static void add(struct many *m, struct sk_str key, struct sk_str value)
{
    m->records[m->nrecords++] = (struct control_record){key, value, 1};
}

static int by_key(const void *a, const void *b)
{
    const struct control_record *ra = a, *rb = b;
    return sk_str_cmp(ra->key, rb->key);
}

static void step(struct many *m, struct control_event *ev)
{
    struct sk_err err = {0};

    ev->now_ms = m->now_ms;
    ev->wall_ms = 1700000000000 + m->now_ms;
    control_commands_clear(&m->out);
    assert_int_equal(control_step(m->c, ev, &m->out, &err), 0);
    for (size_t i = 0; i < m->out.count; i++) {
        m->assigned += m->out.items[i].kind == CONTROL_CMD_ASSIGN;
        if (m->out.items[i].kind == CONTROL_CMD_TXN) {
            struct control_event done = {.kind = CONTROL_EV_TXN_DONE,
                                         .now_ms = m->now_ms,
                                         .wall_ms = 1700000000000 + m->now_ms};
            static int64_t revision = 1;
            done.u.txn_done.request = m->out.items[i].u.txn.request;
            done.u.txn_done.revision = ++revision;
            control_commands_clear(&m->out);
            assert_int_equal(control_step(m->c, &done, &m->out, &err), 0);
            i = (size_t)-1;
        }
    }
}

static void first_records(struct many *m)
{
    struct control_init in = {.cluster = SK_STR("test"),
                              .lab = true,
                              .who = SK_STR("root"),
                              .site_role = SK_STR("control"),
                              .serial = SK_STR("0123456789abcdef0123456789abcdef"),
                              .wall_ms = 1700000000000};
    struct control_commands out = {0};

    in.first = (struct control_join){.node = SK_STR("hub-1"),
                                     .site = SK_STR("hub"),
                                     .address = SK_STR("192.0.2.1"),
                                     .machine_id = SK_STR("m"),
                                     .incarnation = SK_STR("inc"),
                                     .cpus_nano = 1000000000,
                                     .memory_bytes = INT64_C(1) << 30};
    assert_int_equal(control_init_txn(&in, &out, NULL), 0);
    for (size_t i = 0; i < out.items[0].u.txn.nops; i++) {
        const struct control_op *op = &out.items[0].u.txn.ops[i];
        add(m, sk_arena_str(m->arena, op->key), sk_arena_str(m->arena, op->value));
    }
    control_commands_release(&out);
}

static struct many *many_new(size_t count)
{
    struct many *m = sk_xcalloc(1, sizeof(*m));
    struct control_config cfg = {.node = SK_STR("hub-1"), .seed = 1};
    struct control_event ev = {.kind = CONTROL_EV_LOADED};

    m->arena = sk_arena_new();
    m->count = count;
    m->now_ms = 1000;
    m->names = sk_xcalloc(count, sizeof(*m->names));
    m->records = sk_xcalloc(count + SITES + 32, sizeof(*m->records));
    first_records(m);
    for (int i = 0; i < SITES; i++) {
        add(m, sk_arena_printf(m->arena, "/skerry/v1/sites/s-%d", i),
            SK_STR("{\"v\":1,\"trust\":\"full\",\"region\":\"eu\"}"));
    }
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(m->names[i], sizeof(m->names[i]), "n-%zu", i);
        add(m, sk_arena_printf(m->arena, "/skerry/v1/nodes/n-%zu", i),
            sk_arena_printf(m->arena,
                            "{\"v\":1,\"site\":\"s-%zu\",\"address\":\"127.1.%zu.%zu\","
                            "\"machine_id\":\"m-%zu\",\"incarnation\":\"inc\",\"prefix\":"
                            "\"10.%zu.%zu.0/24\",\"cpus_nano\":1000000000,\"memory_bytes\":"
                            "1073741824,\"disk_bytes\":0,\"joined_ms\":1,\"labels\":{}}",
                            i % SITES, i / 250, i % 250 + 1, i, 1 + i / 250, i % 250));
    }
    qsort(m->records, m->nrecords, sizeof(*m->records), by_key);
    assert_int_equal(control_new(&cfg, &m->c, NULL), 0);
    ev.u.loaded.records = m->records;
    ev.u.loaded.count = m->nrecords;
    ev.u.loaded.store_id = SK_STR("store");
    ev.u.loaded.revision = 1;
    step(m, &ev);
    return m;
}

static void many_free(struct many *m)
{
    control_free(m->c);
    control_commands_release(&m->out);
    sk_arena_free(m->arena);
    free(m->records);
    free(m->names);
    free(m);
}

static void hello(struct many *m, size_t i)
{
    struct control_event ev = {.kind = CONTROL_EV_HELLO};

    ev.u.hello.node = sk_str(m->names[i]);
    ev.u.hello.incarnation = SK_STR("inc");
    ev.u.hello.boot = SK_STR("boot");
    ev.u.hello.address = SK_STR("");
    ev.u.hello.version = SK_STR("1");
    step(m, &ev);
}

static void beat(struct many *m, size_t i)
{
    struct control_heard heard[2] = {{sk_str(m->names[(i + SITES) % m->count]), 100, 500},
                                     {sk_str(m->names[(i + 1) % m->count]), 100, 5000}};
    struct control_event ev = {.kind = CONTROL_EV_BEAT};

    ev.u.beat.node = sk_str(m->names[i]);
    ev.u.beat.seq = ++m->seq;
    ev.u.beat.heard = heard;
    ev.u.beat.nheard = 2;
    step(m, &ev);
}

static double cpu_us(void)
{
    struct timespec ts;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

struct cost {
    double comes_us, beat_us;
};

/* All come within a second, as after a start of control; then all beat four times a second. */
static struct cost measure(size_t count)
{
    struct cost best = {1e18, 1e18};

    for (int round = 0; round < 3; round++) {
        struct many *m = many_new(count);
        double begun = cpu_us();
        for (size_t i = 0; i < count; i++) {
            m->now_ms = 1000 + (int64_t)(i * 1000 / count);
            hello(m, i);
            beat(m, i);
        }
        double us = (cpu_us() - begun) / (double)count;
        best.comes_us = us < best.comes_us ? us : best.comes_us;
        assert_true(m->assigned >= count); /* each was told what it is to do */
        begun = cpu_us();
        for (size_t i = 0; i < 8 * count; i++) {
            m->now_ms = 2000 + (int64_t)(i * 250 / count);
            beat(m, i % count);
        }
        us = (cpu_us() - begun) / (8.0 * (double)count);
        best.beat_us = us < best.beat_us ? us : best.beat_us;
        many_free(m);
    }
    return best;
}

static void a_node_costs_the_same_among_many(void **state)
{
    struct cost few = measure(FEW);
    struct cost many = measure(MANY);

    (void)state;
    print_message("a node that comes: %.1f us of %d, %.1f us of %d; a beat: %.1f us, %.1f us\n",
                  few.comes_us, FEW, many.comes_us, MANY, few.beat_us, many.beat_us);
    assert_true(many.comes_us < TIMES_MAX * few.comes_us);
    assert_true(many.beat_us < TIMES_MAX * few.beat_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_costs_the_same_among_many),
    };
    return cmocka_run_group_tests_name("control many", tests, NULL, NULL);
}
