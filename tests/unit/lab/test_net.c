/* SPDX-License-Identifier: Apache-2.0 */
/* The lab itself, as root: delays, cuts, routes, and that nothing of it is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/net.h"
#include "lab/net_state.h"
#include "lab/spawn.h"

static char program[512];

static const char topology_text[] =
    "{\"sites\":[{\"name\":\"fra\",\"nodes\":[\"fra-1\",\"fra-2\"]},{\"name\":\"ams\",\"nodes\":"
    "[\"ams-1\"]},{\"name\":\"par\",\"nodes\":[\"par-1\"]}],\"links\":[{\"between\":[\"fra\","
    "\"ams\"],"
    "\"rtt_ms\":10},{\"between\":[\"fra\",\"par\"],\"rtt_ms\":40}]}";

static int64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct lab {
    char dir[64];
    struct lab_net *net;
};

static struct lab make_lab(pid_t owner)
{
    struct lab lab = {.dir = "/tmp/skerry-lab-XXXXXX"};
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology;
    struct sk_err err = {0};
    assert_non_null(mkdtemp(lab.dir));
    assert_int_equal(lab_topology_read(arena, "t", sk_str(topology_text), &topology, &err), 0);
    struct lab_net_options options = {.dir = lab.dir, .program = program, .owner = owner};
    if (lab_net_up(&topology, &options, &lab.net, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    sk_arena_free(arena);
    return lab;
}

static void remove_folder(const char *dir)
{
    assert_int_equal(rmdir(dir), 0); /* nothing may be left in it */
}

static void end_lab(struct lab *lab)
{
    assert_int_equal(lab_net_down(lab->dir, NULL), 0);
    lab_net_free(lab->net);
    remove_folder(lab->dir);
}

/* A UDP socket in a node's namespace. */
static int node_socket(const struct lab_net *net, const char *name, const char *address,
                       uint16_t port)
{
    const struct lab_node *node = lab_net_find(net, sk_str(name));
    assert_non_null(node);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(node->netns, O_RDONLY | O_CLOEXEC);
    assert_true(home >= 0 && there >= 0);
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    (void)close(home);
    (void)close(there);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    (void)setsockopt(fd, SOL_IP, IP_FREEBIND, &one, sizeof(one));
    assert_int_equal(inet_pton(AF_INET, address != NULL ? address : node->address, &a.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* Sends from one node's socket to an address and waits for it on the other's; microseconds, or -1
 * if it did not arrive within 300 ms. */
static int64_t one_way(int from, int to, const char *address, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    static uint32_t serial;
    uint32_t sent = ++serial;
    assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
    int64_t start = now_us();
    (void)sendto(from, &sent, sizeof(sent), 0, (struct sockaddr *)&a, sizeof(a));
    for (;;) {
        int64_t left = 300 - (now_us() - start) / 1000;
        struct pollfd p = {to, POLLIN, 0};
        uint32_t got = 0;
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) {
            return -1;
        }
        (void)!recv(to, &got, sizeof(got), 0);
        if (got == sent) {
            return now_us() - start;
        }
    }
}

struct pair {
    int a, b;
    char a_address[20], b_address[20];
};

static struct pair make_pair(const struct lab_net *net, const char *a, const char *b)
{
    struct pair p = {node_socket(net, a, NULL, 4000), node_socket(net, b, NULL, 4000), "", ""};
    memcpy(p.a_address, lab_net_find(net, sk_str(a))->address, sizeof(p.a_address));
    memcpy(p.b_address, lab_net_find(net, sk_str(b))->address, sizeof(p.b_address));
    return p;
}

static bool there(const struct pair *p)
{
    return one_way(p->a, p->b, p->b_address, 4000) >= 0;
}

static bool back(const struct pair *p)
{
    return one_way(p->b, p->a, p->a_address, 4000) >= 0;
}

static void close_pair(struct pair *p)
{
    (void)close(p->a);
    (void)close(p->b);
}

#define TRIES 21

/* A delay is a floor under every packet; what a loaded machine adds is above it. So the quickest of
 * many shows the delay, where a median would show the machine. Microseconds. */
static int64_t quickest(int from, int to, const char *address, uint16_t port)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        int64_t took = one_way(from, to, address, port);
        least = took >= 0 && took < least ? took : least;
    }
    return least;
}

static int64_t round_trip(const struct pair *p)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        int64_t out = one_way(p->a, p->b, p->b_address, 4000);
        int64_t home = one_way(p->b, p->a, p->a_address, 4000);
        least = out >= 0 && home >= 0 && out + home < least ? out + home : least;
    }
    return least;
}

static void delays_are_right_to_a_millisecond(void **state)
{
    struct lab lab = make_lab(getpid());
    struct pair near = make_pair(lab.net, "fra-1", "fra-2");
    struct pair ten = near; /* one socket at fra-1 serves all three */
    struct pair forty = near;
    (void)state;
    ten.b = node_socket(lab.net, "ams-1", NULL, 4000);
    forty.b = node_socket(lab.net, "par-1", NULL, 4000);
    memcpy(ten.b_address, "10.99.2.11", sizeof("10.99.2.11"));
    memcpy(forty.b_address, "10.99.3.11", sizeof("10.99.3.11"));
    assert_in_range(round_trip(&near), 0, 1000);
    assert_in_range(round_trip(&ten), 10000, 11000);
    assert_in_range(round_trip(&forty), 40000, 41000);
    struct lab_direction slow = {.delay_ms = 30};
    assert_int_equal(lab_net_set(lab.net, SK_STR("fra"), SK_STR("ams"), &slow, NULL), 0);
    assert_in_range(round_trip(&ten), 35000, 36000); /* 30 there, 5 back */
    (void)close(near.b);
    (void)close(forty.b);
    close_pair(&ten);
    end_lab(&lab);
}

static int node_tcp(const struct lab_net *net, const char *name)
{
    const struct lab_node *node = lab_net_find(net, sk_str(name));
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there_ns = open(node->netns, O_RDONLY | O_CLOEXEC);
    assert_int_equal(setns(there_ns, CLONE_NEWNET), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    (void)close(home);
    (void)close(there_ns);
    return fd;
}

/* Bulk data crosses as super-packets and comes out whole. */
static void tcp_streams_cross_intact(void **state)
{
    struct lab lab = make_lab(getpid());
    int listener = node_tcp(lab.net, "ams-1");
    int client = node_tcp(lab.net, "fra-1");
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(5000)};
    (void)state;
    assert_int_equal(inet_pton(AF_INET, "10.99.2.11", &a.sin_addr), 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
    int server = accept(listener, NULL, NULL);
    const size_t total = 8 << 20;
    pid_t sender = fork();
    if (sender == 0) {
        static uint32_t block[16384];
        for (uint32_t at = 0; at < total / 4; at += 16384) {
            for (uint32_t i = 0; i < 16384; i++) {
                block[i] = (at + i) * 2654435761U;
            }
            if (send(client, block, sizeof(block), 0) != (ssize_t)sizeof(block)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    static uint32_t block[16384];
    for (uint32_t at = 0; at < total / 4; at += 16384) {
        assert_int_equal(recv(server, block, sizeof(block), MSG_WAITALL), sizeof(block));
        for (uint32_t i = 0; i < 16384; i++) {
            assert_int_equal(block[i], (at + i) * 2654435761U);
        }
    }
    int status = 1;
    assert_int_equal(waitpid(sender, &status, 0), sender);
    assert_int_equal(status, 0);
    (void)close(server);
    (void)close(client);
    (void)close(listener);
    end_lab(&lab);
}

static void cut_is_silent_and_heals(void **state)
{
    struct lab lab = make_lab(getpid());
    struct pair out = make_pair(lab.net, "fra-1", "ams-1");
    int inside = node_socket(lab.net, "fra-2", NULL, 4000);
    (void)state;
    assert_true(there(&out) && back(&out));
    assert_int_equal(lab_net_cut(lab.net, SK_STR("fra"), NULL), 0);
    assert_int_equal(lab_net_cut(lab.net, SK_STR("fra"), NULL), 0); /* cut is cut */
    assert_false(there(&out));
    assert_false(back(&out));
    assert_true(one_way(out.a, inside, "10.99.1.12", 4000) >= 0);
    assert_int_equal(lab_net_heal(lab.net, SK_STR("fra"), NULL), 0);
    assert_int_equal(lab_net_heal(lab.net, SK_STR("fra"), NULL), 0);
    assert_true(there(&out) && back(&out));
    /* one direction only */
    assert_int_equal(lab_net_cut_one_way(lab.net, SK_STR("fra"), SK_STR("ams"), true, NULL), 0);
    assert_false(there(&out));
    assert_true(back(&out));
    assert_int_equal(lab_net_cut_one_way(lab.net, SK_STR("fra"), SK_STR("ams"), false, NULL), 0);
    assert_true(there(&out));
    /* one wire */
    assert_int_equal(lab_net_wire(lab.net, SK_STR("fra-1"), false, NULL), 0);
    assert_false(there(&out));
    assert_int_equal(lab_net_wire(lab.net, SK_STR("fra-1"), true, NULL), 0);
    int tries = 0; /* the kernel may take a second to believe in a carrier */
    while (!there(&out) && tries < 10) {
        tries++;
    }
    assert_true(tries < 10);
    struct sk_err err = {0};
    assert_int_equal(lab_net_cut(lab.net, SK_STR("lon"), &err), SK_ERR_NOT_FOUND);
    assert_string_equal(err.msg, "no site 'lon' in this lab");
    (void)close(inside);
    close_pair(&out);
    end_lab(&lab);
}

static void prefixes_follow_their_node(void **state)
{
    struct lab lab = make_lab(getpid());
    struct pair out = make_pair(lab.net, "fra-1", "ams-1");
    struct pair other = make_pair(lab.net, "fra-2", "par-1");
    int at_ams = node_socket(lab.net, "ams-1", "10.210.77.5", 4001);
    int at_par = node_socket(lab.net, "par-1", "10.210.77.5", 4001);
    const char *const add[] = {"ip", "addr", "add", "10.210.77.5/32", "dev", "lo", NULL};
    (void)state;
    assert_int_equal(
        lab_run(lab_net_find(lab.net, SK_STR("ams-1"))->netns, add, SK_STR(""), 5000, NULL, NULL),
        0);
    assert_int_equal(
        lab_run(lab_net_find(lab.net, SK_STR("par-1"))->netns, add, SK_STR(""), 5000, NULL, NULL),
        0);
    assert_int_equal(lab_net_route(lab.net, SK_STR("ams-1"), SK_STR("10.210.77.0/24"), NULL), 0);
    assert_in_range(quickest(out.a, at_ams, "10.210.77.5", 4001), 5000, 7000);
    assert_int_equal(lab_net_route(lab.net, SK_STR("par-1"), SK_STR("10.210.77.0/24"), NULL), 0);
    assert_in_range(quickest(out.a, at_par, "10.210.77.5", 4001), 20000, 22000);
    assert_int_equal(lab_net_route(lab.net, SK_STR("par-1"), SK_STR("10.211.77.0/24"), NULL),
                     SK_ERR_INPUT);
    (void)close(at_ams);
    (void)close(at_par);
    close_pair(&out);
    close_pair(&other);
    end_lab(&lab);
}

static void two_labs_do_not_touch(void **state)
{
    struct lab one = make_lab(getpid());
    struct lab two = make_lab(getpid());
    struct pair in_one = make_pair(one.net, "fra-1", "ams-1");
    struct pair in_two = make_pair(two.net, "fra-1", "ams-1");
    (void)state;
    assert_true(there(&in_one) && there(&in_two));
    assert_int_equal(lab_net_cut(one.net, SK_STR("fra"), NULL), 0);
    assert_false(there(&in_one));
    assert_true(there(&in_two));
    close_pair(&in_one);
    end_lab(&one);
    assert_true(there(&in_two));
    close_pair(&in_two);
    end_lab(&two);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static bool gone_soon(const char *path)
{
    for (int i = 0; exists(path) && i < 500; i++) {
        const struct timespec wait = {0, 10000000};
        (void)nanosleep(&wait, NULL);
    }
    return !exists(path);
}

/* The starter is killed outright. Its keeper ends everything, and every process in it; or that is
 * killed too, and the next clean-up does. */
static void killed_owner_leaves_nothing(void **state)
{
    const bool *keeper_too = *state;
    int tell[2];
    char dir[64];
    assert_int_equal(pipe(tell), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct lab lab = make_lab(getpid());
        const char *const argv[] = {"sleep", "1000", NULL};
        struct lab_spawn how = LAB_SPAWN_INIT;
        pid_t inside = 0;
        how.netns = lab_net_node(lab.net, 0)->netns;
        how.new_session = true;
        if (lab_spawn(&how, argv, &inside, NULL) < 0 ||
            write(tell[1], lab.dir, sizeof(lab.dir)) < 0) {
            _exit(1);
        }
        (void)!write(tell[1], &inside, sizeof(inside));
        for (;;) {
            (void)pause();
        }
    }
    pid_t inside = 0;
    assert_int_equal(read(tell[0], dir, sizeof(dir)), sizeof(dir));
    assert_int_equal(read(tell[0], &inside, sizeof(inside)), sizeof(inside));
    struct lab_net *net = NULL;
    assert_int_equal(lab_net_open(dir, &net, NULL), 0);
    assert_int_equal(lab_net_count(net), 4);
    assert_true(lab_net_clean(NULL) >= 0);
    assert_true(exists(lab_net_router(net))); /* its owner lives: left alone */
    if (*keeper_too) {
        assert_int_equal(kill(net->keeper, SIGKILL), 0);
    }
    (void)kill(owner, SIGKILL);
    (void)waitpid(owner, NULL, 0);
    char record[128];
    (void)snprintf(record, sizeof(record), LAB_REGISTRY "/%s.json", lab_net_id(net));
    if (*keeper_too) {
        assert_true(lab_net_clean(NULL) >= 1);
    }
    assert_true(gone_soon(record)); /* it is removed last */
    assert_false(exists(lab_net_router(net)));
    for (size_t i = 0; i < lab_net_count(net); i++) {
        assert_false(exists(lab_net_node(net, i)->netns));
    }
    char path[128];
    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)inside);
    char exe[128];
    assert_int_equal(readlink(path, exe, sizeof(exe)), -1); /* gone, or only its entry is left */
    assert_int_equal(lab_net_down(dir, NULL), 0);           /* done is done */
    lab_net_free(net);
    remove_folder(dir);
    (void)close(tell[0]);
    (void)close(tell[1]);
}

static void a_folder_holds_one_lab(void **state)
{
    struct lab lab = make_lab(getpid());
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology;
    struct lab_net *second = NULL;
    struct sk_err err = {0};
    (void)state;
    assert_int_equal(lab_topology_read(arena, "t", sk_str(topology_text), &topology, &err), 0);
    struct lab_net_options options = {.dir = lab.dir, .program = program};
    assert_int_equal(lab_net_up(&topology, &options, &second, &err), SK_ERR_CONFLICT);
    assert_non_null(strstr(err.fix, "skerry-lab down --dir"));
    sk_arena_free(arena);
    end_lab(&lab);
}

/* A router that cannot start must not leave half a lab. */
static void failed_start_is_undone(void **state)
{
    char dir[] = "/tmp/skerry-lab-XXXXXX";
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology topology;
    struct lab_net *net = NULL;
    struct sk_err err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(lab_topology_read(arena, "t", sk_str(topology_text), &topology, &err), 0);
    struct lab_net_options options = {.dir = dir, .program = "/bin/false"};
    assert_int_equal(lab_net_up(&topology, &options, &net, &err), SK_ERR_ENGINE);
    assert_int_equal(lab_net_open(dir, &net, NULL), SK_ERR_NOT_FOUND);
    remove_folder(dir);
    sk_arena_free(arena);
}

/* A host that is cut loses its own site too; healing all heals all. */
static void hosts_are_cut_and_all_is_healed(void **state)
{
    struct lab lab = make_lab(getpid());
    struct pair inside = make_pair(lab.net, "fra-1", "fra-2");
    struct pair out = inside;
    struct sk_buf cuts = SK_BUF_INIT;
    struct lab_pair *pairs = NULL;
    size_t count = 0;
    (void)state;
    out.b = node_socket(lab.net, "par-1", NULL, 4000);
    memcpy(out.b_address, "10.99.3.11", sizeof("10.99.3.11"));
    assert_true(there(&inside) && there(&out));
    assert_int_equal(lab_net_cut_node(lab.net, SK_STR("fra-1"), true, NULL), 0);
    assert_false(there(&inside) || back(&inside) || there(&out));
    assert_int_equal(lab_net_cuts(lab.net, &cuts, NULL), 0);
    assert_non_null(strstr(cuts.ptr, "\"v1\""));
    assert_int_equal(lab_net_cut_node(lab.net, SK_STR("fra-1"), false, NULL), 0);
    assert_true(there(&inside) && back(&inside) && there(&out));
    assert_int_equal(lab_net_cut(lab.net, SK_STR("ams"), NULL), 0);
    assert_int_equal(lab_net_cut_node(lab.net, SK_STR("fra-2"), true, NULL), 0);
    assert_int_equal(lab_net_cut_one_way(lab.net, SK_STR("fra"), SK_STR("par"), true, NULL), 0);
    assert_false(there(&out));
    assert_int_equal(lab_net_heal_all(lab.net, NULL), 0);
    assert_true(there(&inside) && there(&out));
    sk_buf_clear(&cuts);
    assert_int_equal(lab_net_cuts(lab.net, &cuts, NULL), 0);
    assert_null(strchr(cuts.ptr, '"'));
    struct lab_direction loss = {-1, -1, 25, -1}; /* the rest stays */
    assert_int_equal(lab_net_set(lab.net, SK_STR("fra"), SK_STR("par"), &loss, NULL), 0);
    assert_int_equal(lab_net_pairs(lab.net, &pairs, &count, NULL), 0);
    assert_int_equal(count, 6);
    assert_string_equal(pairs[1].from, "fra");
    assert_string_equal(pairs[1].to, "par");
    assert_true(pairs[1].now.delay_ms == 20 && pairs[1].now.loss_percent == 25 && !pairs[1].cut);
    assert_true(pairs[0].now.delay_ms == 5 && pairs[0].now.loss_percent == 0);
    free(pairs);
    sk_buf_release(&cuts);
    (void)close(out.b);
    close_pair(&inside);
    end_lab(&lab);
}

int main(void)
{
    static bool no = false;
    static bool yes = true;
    const char *build = getenv("SKERRY_BUILD_ROOT");
    (void)snprintf(program, sizeof(program), "%s/skerry-lab", build != NULL ? build : "build");
    if (geteuid() != 0) {
        (void)fprintf(stderr, "skipped: network namespaces need root\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_are_right_to_a_millisecond),
        cmocka_unit_test(tcp_streams_cross_intact),
        cmocka_unit_test(cut_is_silent_and_heals),
        cmocka_unit_test(hosts_are_cut_and_all_is_healed),
        cmocka_unit_test(prefixes_follow_their_node),
        cmocka_unit_test(two_labs_do_not_touch),
        cmocka_unit_test_prestate(killed_owner_leaves_nothing, &no),
        cmocka_unit_test_prestate(killed_owner_leaves_nothing, &yes),
        cmocka_unit_test(a_folder_holds_one_lab),
        cmocka_unit_test(failed_start_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
