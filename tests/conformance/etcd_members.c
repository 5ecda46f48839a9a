/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_members.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/identity.h"
#include "store_suite.h"
#include "sys/clock.h"
#include "sys/file.h"

#define START_MS_MAX 20000

bool members_can_run(void)
{
    static const char *const places[] = {"/usr/bin/etcd", "/usr/local/bin/etcd"};

    for (size_t i = 0; i < SK_ARRAY_LEN(places); i++) {
        if (access(places[i], X_OK) == 0) {
            return true;
        }
    }
    print_message("# skipped: etcd is not installed; apt-get install etcd-server\n");
    return false;
}

/* --- certificates ---------------------------------------------------------------------------- */

static void write_file(const char *path, struct sk_str bytes)
{
    ok(sys_file_write(path, bytes, 0600, &err));
}

static void issue(const struct net_ca *ca, const char *node, const char *cert_path,
                  const char *key_path)
{
    static const char *const names[] = {"127.0.0.1", "localhost"};
    struct net_issue what = {
        .kind = NET_CERT_NODE, .node = node, .names = names, .nnames = 2, .wall_ms = sys_wall_ms()};
    struct sk_buf key = SK_BUF_INIT;
    struct sk_buf csr = SK_BUF_INIT;
    struct sk_buf cert = SK_BUF_INIT;

    ok(net_key_new(&key, &err));
    ok(net_csr_new(sk_buf_str(&key), node, &csr, &err));
    ok(net_ca_issue(ca, sk_buf_str(&csr), &what, &cert, NULL, &err));
    write_file(cert_path, sk_buf_str(&cert));
    write_file(key_path, sk_buf_str(&key));
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
}

static void make_certificates(struct members *m)
{
    struct net_ca *ca = NULL;
    struct net_ca *stranger = NULL;
    char cert[96];
    char key[96];

    (void)snprintf(m->ca, sizeof(m->ca), "%s/ca.pem", m->dir);
    (void)snprintf(m->cert, sizeof(m->cert), "%s/client.pem", m->dir);
    (void)snprintf(m->key, sizeof(m->key), "%s/client.key", m->dir);
    (void)snprintf(m->stranger_ca, sizeof(m->stranger_ca), "%s/stranger-ca.pem", m->dir);
    (void)snprintf(m->stranger_cert, sizeof(m->stranger_cert), "%s/stranger.pem", m->dir);
    (void)snprintf(m->stranger_key, sizeof(m->stranger_key), "%s/stranger.key", m->dir);
    ok(net_ca_new("etcd", sys_wall_ms(), &ca, &err));
    ok(net_ca_new("etcd", sys_wall_ms(), &stranger, &err));
    write_file(m->ca, sk_str(net_ca_pem(ca)));
    write_file(m->stranger_ca, sk_str(net_ca_pem(stranger)));
    issue(ca, "client", m->cert, m->key);
    issue(stranger, "client", m->stranger_cert, m->stranger_key);
    for (int i = 0; i < m->count; i++) {
        char node[16];
        (void)snprintf(node, sizeof(node), "m%d", i);
        (void)snprintf(cert, sizeof(cert), "%s/m%d.pem", m->dir, i);
        (void)snprintf(key, sizeof(key), "%s/m%d.key", m->dir, i);
        issue(ca, node, cert, key);
    }
    net_ca_free(ca);
    net_ca_free(stranger);
}

/* --- processes ------------------------------------------------------------------------------- */

/* All held at once, so that they differ; somebody may take one before etcd does, then it says so.
 */
static void choose_ports(struct members *m)
{
    int fds[2 * MEMBERS_MAX];

    for (int i = 0; i < 2 * m->count; i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof(addr);
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fds[i] >= 0);
        assert_int_equal(bind(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(getsockname(fds[i], (struct sockaddr *)&addr, &len), 0);
        if (i % 2) {
            m->member[i / 2].peer_port = ntohs(addr.sin_port);
        } else {
            m->member[i / 2].client_port = ntohs(addr.sin_port);
        }
    }
    for (int i = 0; i < 2 * m->count; i++) {
        (void)close(fds[i]);
    }
}

#define ARGS_MAX 40

struct args {
    char *argv[ARGS_MAX + 1];
    size_t count;
};

static void add(struct args *args, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct args *args, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    SK_ASSERT(args->count < ARGS_MAX);
    args->argv[args->count++] = sk_xstrdup(text);
}

static void add_urls(struct args *args, const struct members *m, int i)
{
    int client = m->member[i].client_port;
    int peer = m->member[i].peer_port;
    char cluster[256];
    size_t at = 0;

    for (int k = 0; k < m->count; k++) {
        at += (size_t)snprintf(cluster + at, sizeof(cluster) - at, "%sm%d=https://127.0.0.1:%d",
                               k ? "," : "", k, m->member[k].peer_port);
    }
    add(args, "--listen-client-urls=https://127.0.0.1:%d", client);
    add(args, "--advertise-client-urls=https://127.0.0.1:%d", client);
    add(args, "--listen-peer-urls=https://127.0.0.1:%d", peer);
    add(args, "--initial-advertise-peer-urls=https://127.0.0.1:%d", peer);
    add(args, "--initial-cluster=%s", cluster);
}

static void add_certificates(struct args *args, const struct members *m, int i)
{
    add(args, "--client-cert-auth");
    add(args, "--trusted-ca-file=%s", m->ca);
    add(args, "--cert-file=%s/m%d.pem", m->dir, i);
    add(args, "--key-file=%s/m%d.key", m->dir, i);
    add(args, "--peer-client-cert-auth");
    add(args, "--peer-trusted-ca-file=%s", m->ca);
    add(args, "--peer-cert-file=%s/m%d.pem", m->dir, i);
    add(args, "--peer-key-file=%s/m%d.key", m->dir, i);
}

static _Noreturn void exec_member(const struct members *m, int i)
{
    static char path[] = "PATH=/usr/bin:/usr/local/bin";
    static char *const env[] = {path, NULL}; /* ETCD_* of the environment would count as flags */
    struct args args = {.count = 0};
    char log[96];
    int fd;

    add(&args, "etcd");
    add(&args, "--name=m%d", i);
    add(&args, "--data-dir=%s/m%d.data", m->dir, i);
    add_urls(&args, m, i);
    add_certificates(&args, m, i);
    add(&args, "--heartbeat-interval=%d", m->count > 1 ? 50 : 10);
    add(&args, "--election-timeout=%d", m->count > 1 ? 500 : 100);
    add(&args, "--max-txn-ops=2048");
    add(&args, "--max-request-bytes=10485760");
    add(&args, "--log-level=warn");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the test's end is their end */
    (void)snprintf(log, sizeof(log), "%s/m%d.log", m->dir, i);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
    }
    (void)execvpe("etcd", args.argv, env);
    _exit(127);
}

void member_start(struct members *m, int i)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        exec_member(m, i);
    }
    m->member[i].pid = pid;
}

void member_kill(struct members *m, int i)
{
    if (m->member[i].pid) {
        assert_int_equal(kill(m->member[i].pid, SIGKILL), 0);
        assert_int_equal(waitpid(m->member[i].pid, NULL, 0), m->member[i].pid);
        m->member[i].pid = 0;
    }
}

void member_pause(struct members *m, int i)
{
    int status;

    assert_int_equal(kill(m->member[i].pid, SIGSTOP), 0);
    /* its threads stop one after the other */
    assert_int_equal(waitpid(m->member[i].pid, &status, WUNTRACED), m->member[i].pid);
    assert_true(WIFSTOPPED(status));
}

void member_resume(struct members *m, int i)
{
    assert_int_equal(kill(m->member[i].pid, SIGCONT), 0);
}

void members_options(struct members *m, int first, const char *urls[MEMBERS_MAX],
                     struct store_etcd *ret)
{
    for (int i = 0; i < m->count; i++) {
        urls[i] = m->urls[(first + i) % m->count];
    }
    *ret = (struct store_etcd){.endpoints = urls,
                               .nendpoints = (size_t)m->count,
                               .ca_file = m->ca,
                               .cert_file = m->cert,
                               .key_file = m->key,
                               .txn_bytes_max = STORE_ETCD_TXN_BYTES_MAX};
}

static void wait_until_ready(struct members *m, int i)
{
    int64_t end = sys_now_ms() + START_MS_MAX;
    struct sk_err err = {0};
    const char *urls[MEMBERS_MAX];
    struct store_etcd options;
    struct store *store = NULL;

    members_options(m, i, urls, &options);
    options.nendpoints = 1;
    options.root = "/ready";
    options.deadline_ms = 1000;
    while (store_open_etcd(&options, &store, &err) < 0) {
        if (sys_now_ms() > end) {
            fail_msg("member %d does not answer: %s", i, err.msg);
        }
        (void)usleep(20000);
    }
    store_close(store);
}

void members_prepare(struct members *m, int count)
{
    memset(m, 0, sizeof(*m));
    m->count = count;
    (void)snprintf(m->dir, sizeof(m->dir), "/tmp/skerry-test-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    make_certificates(m);
    choose_ports(m);
}

void members_start(struct members *m, int count)
{
    members_prepare(m, count);
    for (int i = 0; i < count; i++) {
        (void)snprintf(m->urls[i], sizeof(m->urls[i]), "https://127.0.0.1:%d",
                       m->member[i].client_port);
        member_start(m, i);
    }
    for (int i = 0; i < count; i++) {
        wait_until_ready(m, i);
    }
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    return remove(path);
}

void members_stop(struct members *m)
{
    for (int i = 0; i < m->count; i++) {
        if (m->member[i].pid) {
            member_resume(m, i);
            member_kill(m, i);
        }
    }
    assert_int_equal(nftw(m->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}
