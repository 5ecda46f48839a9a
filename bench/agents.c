/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many nodes that are not there, against a real control node: each has its own certificate,
 * address, TLS channel and session for datagrams; it says hello, beats each 250 ms both ways, and
 * observes what it is assigned as running. bench/agents.py drives it.
 *
 *     agents prepare DIR COUNT SITES
 *         while the control node of DIR does not run: writes the nodes into its state, and their
 *         certificates, issued in bulk with its CA's key, into DIR/agents.pem
 *     agents run DIR COUNT CONTROL
 *         ten JSON lines a second, until its input ends
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "daemon/config.h"
#include "daemon/frames.h"
#include "daemon/vault.h"
#include "net/bulk.h"
#include "net/channel.h"
#include "net/identity.h"
#include "net/pulse.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/table.h"

#define COUNT_MAX 10000
#define TICK_MS 5
#define BEAT_MS 250
#define OPS 400
#define BATCH 32
#define PEM_MAX (64 * 1024 * 1024)

struct agent {
    char name[32], address[32];
    struct net_client *client;
    struct net_peer *peer;
    struct net_pulse pulse;
    struct sockaddr_storage to;
    int64_t seq, assign_rev, obs_rev, said_assign, said_obs;
    int64_t answered_ms, steady_ms;
    unsigned beats;
    uint64_t running;
    bool has_pulse, pulse_next;
    UT_hash_handle hh; /* by session, while has_pulse */
};

static struct agent *agents, *by_session;
static struct net_bulk *bulk;
static int64_t count;
static uv_loop_t loop;
static uv_udp_t udp;
static uint8_t datagram[NET_PULSE_BYTES_MAX];
static struct {
    uint64_t up, ups, resumed, refused, beats, datagrams, answers, assigns, assign_bytes, running,
        hurried;
} sum;

static void die(const char *what, const struct sk_err *err)
{
    (void)fprintf(stderr, "agents: %s: %s\n", what, err ? err->msg : "");
    exit(1);
}

static void name_agent(struct agent *a, int64_t i)
{
    (void)snprintf(a->name, sizeof(a->name), "n-%" PRId64, i);
    (void)snprintf(a->address, sizeof(a->address), "127.%d.%d.%d", (int)(20 + i / 62500),
                   (int)(i / 250 % 250), (int)(i % 250 + 1));
}

/* ---- prepare ---- */

static void open_ca(const struct daemon_config *config, const char *dir, struct net_ca **ret)
{
    struct sk_buf key = SK_BUF_INIT, pem = SK_BUF_INIT;
    struct vault *vault = NULL;
    struct sk_err err = {0};
    char path[640];

    (void)snprintf(path, sizeof(path), "%s/ca.pem", dir);
    if (vault_load(dir, config->cluster, &vault, &err) < 0 ||
        vault_get(vault, VAULT_CA_KEY, &key, &err) < 0 ||
        sys_file_read(path, 65536, &pem, &err) < 0 ||
        net_ca_read(sk_buf_str(&key), sk_buf_str(&pem), ret, &err) < 0) {
        die("open the CA", &err);
    }
    vault_free(vault);
    seal_wipe(&key);
    sk_buf_release(&pem);
}

static void commit(struct store *store, struct store_op *ops, size_t *nops)
{
    struct store_txn txn = {.expect_number = -1, .ops = ops, .nops = *nops};
    struct sk_err err = {0};

    if (*nops > 0 && store_txn(store, &txn, NULL, &err) < 0) {
        die("write the state", &err);
    }
    *nops = 0;
}

static void write_nodes(const char *dir, int64_t sites)
{
    struct sk_arena *arena = sk_arena_new();
    struct store_op ops[OPS];
    struct store *store = NULL;
    struct sk_err err = {0};
    size_t nops = 0;

    if (store_open_sqlite(dir, &store, &err) < 0) {
        die("open the state", &err);
    }
    for (int64_t i = 0; i < sites; i++) {
        ops[nops++] = (struct store_op){
            STORE_PUT, sk_arena_printf(arena, "/skerry/v1/sites/s-%" PRId64, i),
            sk_arena_printf(arena, "{\"v\":1,\"trust\":\"full\",\"region\":\"eu\"}")};
        if (nops == OPS) {
            commit(store, ops, &nops);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        struct agent a;
        name_agent(&a, i);
        ops[nops++] = (struct store_op){
            STORE_PUT, sk_arena_printf(arena, "/skerry/v1/nodes/%s", a.name),
            sk_arena_printf(arena,
                            "{\"v\":1,\"site\":\"s-%" PRId64 "\",\"address\":\"%s\","
                            "\"machine_id\":\"%s\",\"incarnation\":\"bench\",\"prefix\":\"10.%d.%d."
                            "0/24\",\"cpus_nano\":8000000000,\"memory_bytes\":34359738368,"
                            "\"disk_bytes\":100000000000,\"joined_ms\":1,\"labels\":{}}",
                            i % sites, a.address, a.name, (int)(1 + i / 250), (int)(i % 250))};
        if (nops == OPS) {
            commit(store, ops, &nops);
        }
    }
    commit(store, ops, &nops);
    store_close(store);
    sk_arena_free(arena);
}

/* One key for them all: what a handshake costs control does not depend on whose key it is. */
static void write_certs(const struct net_ca *ca, const char *path)
{
    struct sk_buf key = SK_BUF_INIT, out = SK_BUF_INIT;
    struct sk_err err = {0};

    if (net_key_new(&key, &err) < 0) {
        die("make a key", &err);
    }
    sk_buf_addstr(&out, sk_buf_str(&key));
    for (int64_t i = 0; i < count; i++) {
        struct agent a;
        const char *names[] = {a.address};
        struct net_issue issue = {.kind = NET_CERT_NODE,
                                  .node = a.name,
                                  .names = names,
                                  .nnames = 1,
                                  .wall_ms = sys_wall_ms()};
        struct sk_buf csr = SK_BUF_INIT;
        name_agent(&a, i);
        if (net_csr_new(sk_buf_str(&key), a.name, &csr, &err) < 0 ||
            net_ca_issue(ca, sk_buf_str(&csr), &issue, &out, NULL, &err) < 0) {
            die("issue a certificate", &err);
        }
        sk_buf_release(&csr);
    }
    if (sys_file_write(path, sk_buf_str(&out), 0600, &err) < 0) {
        die("write the certificates", &err);
    }
    net_pem_wipe(&key);
    net_pem_wipe(&out);
}

static void prepare(const char *dir, int64_t sites)
{
    struct daemon_config config;
    struct net_ca *ca = NULL;
    struct sk_err err = {0};
    char control[512], pem[512];

    (void)snprintf(control, sizeof(control), "%s/control", dir);
    (void)snprintf(pem, sizeof(pem), "%s/agents.pem", dir);
    if (daemon_config_load(dir, &config, &err) < 0) {
        die("read the control node", &err);
    }
    open_ca(&config, control, &ca);
    write_nodes(control, sites);
    write_certs(ca, pem);
    net_ca_free(ca);
}

/* ---- run ---- */

static void write_beat(struct agent *a, struct sk_buf *out)
{
    static const struct frame_heard heard[] = {
        {"n-1", 120, 5321}, {"n-2", 140, 4987}, {"n-3", 30, 6012}};
    struct frame_beat beat = {.seq = ++a->seq,
                              .assign_rev = a->assign_rev,
                              .obs_rev = a->obs_rev,
                              .heard = heard,
                              .nheard = SK_ARRAY_LEN(heard)};

    frame_write_beat(&beat, out);
}

static void send_beat(struct agent *a)
{
    struct sk_buf json = SK_BUF_INIT;

    write_beat(a, &json);
    sum.beats += net_send(a->peer, sk_buf_str(&json), NULL) == 0;
    sk_buf_release(&json);
    a->said_assign = a->assign_rev;
    a->said_obs = a->obs_rev;
}

/* As src/daemon/member.c does it. */
static void send_due_beat(struct agent *a)
{
    bool calm = a->has_pulse && net_pulse_calm(sys_now_ms(), a->answered_ms, a->steady_ms);

    if (a->beats++ % NET_PULSE_CALM_BEATS == 0 || a->said_assign != a->assign_rev ||
        a->said_obs != a->obs_rev || !calm) {
        send_beat(a);
    }
}

static void end_session(struct agent *a)
{
    if (a->has_pulse) {
        HASH_DEL(by_session, a);
    }
    a->has_pulse = false;
    a->answered_ms = -1;
}

/* In one call for many: the load program shares the machine with what it measures. */
static struct {
    unsigned count;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    uint8_t bytes[BATCH][NET_PULSE_BYTES_MAX];
} batch;

static void flush_datagrams(void)
{
    uv_os_fd_t fd;
    int sent = uv_fileno((uv_handle_t *)&udp, &fd) == 0
                   ? sendmmsg(fd, batch.messages, batch.count, MSG_DONTWAIT)
                   : 0;

    sum.datagrams += sent > 0 ? (unsigned)sent : 0;
    batch.count = 0;
}

static void send_datagram(struct agent *a)
{
    struct sk_buf json = SK_BUF_INIT;
    unsigned at = batch.count;

    write_beat(a, &json);
    batch.parts[at] = (struct iovec){batch.bytes[at],
                                     net_pulse_seal(&a->pulse, sk_buf_str(&json), batch.bytes[at])};
    batch.messages[at].msg_hdr = (struct msghdr){.msg_name = &a->to,
                                                 .msg_namelen = sizeof(struct sockaddr_in),
                                                 .msg_iov = &batch.parts[at],
                                                 .msg_iovlen = 1};
    sk_buf_release(&json);
    if (++batch.count == BATCH) {
        flush_datagrams();
    }
}

/* All that is assigned runs. */
static void observe(struct agent *a, const struct sk_node *frame)
{
    const struct sk_node *list = sk_map_seq(frame, "instances");
    struct sk_buf json = SK_BUF_INIT;
    bool first = true;

    sum.running -= a->running;
    a->running = 0;
    a->obs_rev++;
    sk_buf_printf(&json,
                  "{\"v\":1,\"type\":\"observe\",\"obs_rev\":%" PRId64
                  ",\"full\":true,\"instances\":[",
                  a->obs_rev);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        if (sk_str_is(sk_map_str(row, "want", SK_STR("")), "run")) {
            sk_buf_printf(&json,
                          "%s{\"id\":\"%.*s\",\"state\":\"running\",\"healthy\":null,"
                          "\"since_ms\":1000,\"restarts\":0,\"exit\":null,\"signal\":null,"
                          "\"reason\":\"\"}",
                          first ? "" : ",", SK_PRI(sk_map_str(row, "id", SK_STR(""))));
            first = false;
            a->running++;
        }
    }
    sum.running += a->running;
    sk_buf_adds(&json, "]}");
    (void)net_send(a->peer, sk_buf_str(&json), NULL);
    sk_buf_release(&json);
}

static void on_up(void *ctx, struct net_peer *peer)
{
    struct agent *a = ctx;

    a->peer = peer;
    end_session(a);
    sum.up++;
    sum.ups++;
    sum.resumed += net_peer_info(peer)->resumed;
    send_beat(a);
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    struct agent *a = ctx;
    uint16_t port;

    if (sk_str_is(frame->type, "assign")) {
        a->assign_rev = sk_map_int(frame->tree, "rev", 0);
        sum.assigns++;
        sum.assign_bytes += frame->bytes.len;
        observe(a, frame->tree);
    } else if (sk_str_is(frame->type, "pulse")) {
        end_session(a);
        a->has_pulse = net_pulse_parse(frame->tree, &a->pulse, &port, NULL) == 0 &&
                       net_peer_address(peer, port, &a->to, NULL) == 0;
        if (a->has_pulse) {
            HASH_ADD(hh, by_session, pulse.id, NET_PULSE_ID_BYTES, a);
        }
    }
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    struct agent *a = ctx;

    (void)peer;
    (void)why;
    a->peer = NULL;
    end_session(a);
    sum.up--;
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    (void)ctx;
    (void)address;
    (void)why;
    sum.refused++;
}

/* Each tick the next part of them beats: by channel and by datagram in turn, half a beat apart. */
static void on_tick(uv_timer_t *timer)
{
    static int64_t at, begun_ms, sent;
    int64_t due;

    (void)timer;
    begun_ms = begun_ms ? begun_ms : sys_now_ms();
    due = (sys_now_ms() - begun_ms) * 2 * count / BEAT_MS;
    due = due - sent > 2 * count ? sent + 2 * count : due;
    for (; sent < due; sent++) {
        struct agent *a = &agents[at];
        at = (at + 1) % count;
        a->pulse_next = !a->pulse_next;
        if (a->peer && !a->pulse_next) {
            send_due_beat(a);
        } else if (a->peer && a->has_pulse) {
            send_datagram(a);
        }
    }
    flush_datagrams();
}

/* As src/daemon/pulse_out.c does it. */
static void on_hurry(uv_timer_t *timer)
{
    int64_t now_ms = sys_now_ms();

    (void)timer;
    for (int64_t i = 0; i < count; i++) {
        if (agents[i].has_pulse && net_pulse_hurry(now_ms, agents[i].answered_ms)) {
            sum.hurried++;
            send_datagram(&agents[i]);
        }
    }
    flush_datagrams();
}

static void on_second(uv_timer_t *timer)
{
    (void)timer;
    (void)printf("{\"ms\":%" PRId64 ",\"up\":%" PRIu64 ",\"ups\":%" PRIu64 ",\"resumed\":%" PRIu64
                 ",\"refused\":%" PRIu64 ",\"beats\":%" PRIu64 ",\"datagrams\":%" PRIu64
                 ",\"answers\":%" PRIu64 ",\"assigns\":%" PRIu64 ",\"assign_bytes\":%" PRIu64
                 ",\"running\":%" PRIu64 ",\"hurried\":%" PRIu64 "}\n",
                 sys_now_ms(), sum.up, sum.ups, sum.resumed, sum.refused, sum.beats, sum.datagrams,
                 sum.answers, sum.assigns, sum.assign_bytes, sum.running, sum.hurried);
    (void)fflush(stdout);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    (void)handle;
    (void)size;
    *ret = uv_buf_init((char *)datagram, sizeof(datagram));
}

static void take_answer(void *ctx, const uint8_t *bytes, size_t len, const struct sockaddr *from)
{
    uint8_t id[NET_PULSE_ID_BYTES];
    struct agent *a = NULL;

    (void)ctx;
    (void)from;
    if (net_pulse_look(bytes, len, id) == NET_PULSE_ANSWER) {
        HASH_FIND(hh, by_session, id, sizeof(id), a);
    }
    if (a && net_pulse_answered(&a->pulse, bytes, len)) {
        int64_t now_ms = sys_now_ms();
        a->steady_ms = net_pulse_steady(now_ms, a->answered_ms, a->steady_ms);
        a->answered_ms = now_ms;
        sum.answers++;
    }
}

static void on_answer(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                      unsigned flags)
{
    uv_os_fd_t fd;

    (void)buf;
    (void)flags;
    if (n > 0) {
        take_answer(NULL, datagram, (size_t)n, from);
        (void)uv_fileno((uv_handle_t *)handle, &fd);
        net_bulk_receive(bulk, fd, take_answer, NULL);
    }
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    char bytes[256];

    (void)poll;
    (void)events;
    if (status < 0 || read(0, bytes, sizeof(bytes)) <= 0) {
        exit(0);
    }
}

static struct sk_str next_pem(const char **at)
{
    static const char end[] = "-----END ";
    const char *begin = *at, *stop = strstr(begin, end);

    if (!stop || !(stop = strchr(stop, '\n'))) {
        die("read the certificates: too few", NULL);
    }
    *at = stop + 1;
    return (struct sk_str){begin, (size_t)(stop + 1 - begin)};
}

static void connect_all(const char *dir, const char *control)
{
    struct sk_buf pems = SK_BUF_INIT, ca = SK_BUF_INIT;
    struct sk_err err = {0};
    struct sk_str key;
    char path[512];
    const char *at;

    (void)snprintf(path, sizeof(path), "%s/agents.pem", dir);
    if (sys_file_read(path, PEM_MAX, &pems, &err) < 0) {
        die("read the certificates", &err);
    }
    (void)snprintf(path, sizeof(path), "%s/control/ca.pem", dir);
    if (sys_file_read(path, 65536, &ca, &err) < 0) {
        die("read the CA", &err);
    }
    at = pems.ptr;
    key = next_pem(&at);
    for (int64_t i = 0; i < count; i++) {
        struct agent *a = &agents[i];
        struct net_identity id = {0};
        struct net_channel_cfg cfg = {.identity = &id,
                                      .incarnation = "bench",
                                      .boot = "bench",
                                      .version = "0.1.0",
                                      .source = a->address};
        struct net_callbacks callbacks = {a, on_up, on_frame, NULL, NULL, on_down, on_refused};
        name_agent(a, i);
        if (net_identity_make(key, next_pem(&at), sk_buf_str(&ca), &id, &err) < 0 ||
            net_client_new(&loop, &cfg, &callbacks, &a->client, &err) < 0 ||
            net_client_set_addresses(a->client, &control, 1, &err) < 0) {
            die("connect", &err);
        }
        net_identity_release(&id);
    }
    net_pem_wipe(&pems);
    sk_buf_release(&ca);
}

static void run(const char *dir, const char *control)
{
    struct sockaddr_in any;
    uv_timer_t tick, second, hurry;
    uv_poll_t input;
    int size = 4 * 1024 * 1024;

    agents = sk_xcalloc((size_t)count, sizeof(*agents));
    bulk = net_bulk_new();
    if (uv_loop_init(&loop) < 0 || uv_udp_init(&loop, &udp) < 0 ||
        uv_ip4_addr("127.0.0.1", 0, &any) < 0 ||
        uv_udp_bind(&udp, (const struct sockaddr *)&any, 0) < 0 ||
        uv_recv_buffer_size((uv_handle_t *)&udp, &size) < 0 ||
        uv_udp_recv_start(&udp, on_alloc, on_answer) < 0 || uv_timer_init(&loop, &tick) < 0 ||
        uv_timer_init(&loop, &second) < 0 || uv_timer_init(&loop, &hurry) < 0 ||
        uv_poll_init(&loop, &input, 0) < 0) {
        die("start the loop", NULL);
    }
    connect_all(dir, control);
    (void)uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
    (void)uv_timer_start(&hurry, on_hurry, NET_PULSE_HURRY_MS, NET_PULSE_HURRY_MS);
    (void)uv_timer_start(&second, on_second, 100, 100);
    (void)uv_poll_start(&input, UV_READABLE, on_input);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    struct sk_err err = {0};
    int64_t sites = 0;
    bool is_prepare = argc == 5 && strcmp(argv[1], "prepare") == 0;
    bool is_run = argc == 5 && strcmp(argv[1], "run") == 0;

    if ((!is_prepare && !is_run) || sk_parse_int(sk_str(argv[3]), 1, COUNT_MAX, &count, &err) < 0 ||
        (is_prepare && sk_parse_int(sk_str(argv[4]), 1, 200, &sites, &err) < 0)) {
        die("usage: agents prepare DIR COUNT SITES | run DIR COUNT CONTROL", &err);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (is_prepare) {
        prepare(argv[2], sites);
    } else {
        run(argv[2], argv[4]);
    }
    return 0;
}
