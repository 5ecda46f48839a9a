/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/wan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/wan_matrix.h"

#define PACKET_BYTES_MAX (65536 + 256)
#define HEAP_PACKETS_MAX 65536
#define HEAP_BYTES_MAX (256U << 20)
#define COMMAND_BYTES_MAX 65536
#define REPLY_BYTES_MAX (192 << 10) /* one datagram, below what a socket takes */
#define READS_A_PASS 64             /* bounded work between two looks at what is due */

struct packet {
    uint64_t due_ns;
    uint64_t seq; /* packets due at once leave in the order they came */
    uint8_t *bytes;
    size_t len;
};

struct router {
    int tun, control, signals;
    struct wan_matrix *matrix;
    struct packet *heap; /* min-heap by (due_ns, seq) */
    size_t count;
    size_t held_bytes;
    uint64_t seq;
    uint8_t *scratch; /* PACKET_BYTES_MAX */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static bool before(const struct packet *a, const struct packet *b)
{
    return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->seq < b->seq);
}

static void heap_push(struct router *r, struct packet p)
{
    size_t i = r->count++;
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!before(&p, &r->heap[parent])) {
            break;
        }
        r->heap[i] = r->heap[parent];
        i = parent;
    }
    r->heap[i] = p;
}

static struct packet heap_pop(struct router *r)
{
    struct packet top = r->heap[0];
    struct packet last = r->heap[--r->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= r->count) {
            break;
        }
        if (child + 1 < r->count && before(&r->heap[child + 1], &r->heap[child])) {
            child++;
        }
        if (!before(&r->heap[child], &last)) {
            break;
        }
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = last;
    return top;
}

static void take_packets(struct router *r)
{
    const size_t header = sizeof(struct virtio_net_hdr);
    for (int i = 0; i < READS_A_PASS; i++) {
        ssize_t n = read(r->tun, r->scratch, PACKET_BYTES_MAX);
        if (n <= (ssize_t)header) {
            return;
        }
        uint64_t due = 0;
        size_t len = (size_t)n;
        if (wan_judge(r->matrix, r->scratch + header, len - header, now_ns(), &due) != WAN_PASS) {
            continue;
        }
        if (r->count >= HEAP_PACKETS_MAX || r->held_bytes + len > HEAP_BYTES_MAX) {
            r->matrix->passed--;
            r->matrix->full++;
            continue;
        }
        struct packet p = {due, r->seq++, sk_xmalloc(len), len};
        memcpy(p.bytes, r->scratch, len);
        r->held_bytes += len;
        heap_push(r, p);
    }
}

static void give_packets(struct router *r)
{
    uint64_t now = now_ns();
    while (r->count > 0 && r->heap[0].due_ns <= now) {
        struct packet p = heap_pop(r);
        ssize_t n = write(r->tun, p.bytes, p.len);
        if (n < 0) {
            /* the kernel refused it (no route, no memory): lost, as on any network */
            r->matrix->passed--;
            r->matrix->lost++;
        }
        r->held_bytes -= p.len;
        free(p.bytes);
    }
}

/* One datagram of command lines; the answer goes back to who sent it. */
static void take_command(struct router *r)
{
    char *text = sk_xmalloc(COMMAND_BYTES_MAX);
    struct sockaddr_un from;
    socklen_t from_len = sizeof(from);
    ssize_t n = recvfrom(r->control, text, COMMAND_BYTES_MAX, 0, (void *)&from, &from_len);
    if (n >= 0) {
        struct sk_buf answer = SK_BUF_INIT;
        struct sk_buf reply = SK_BUF_INIT;
        struct sk_err err = {0};
        struct sk_str rest = {text, (size_t)n};
        while (rest.len > 0) {
            struct sk_str line;
            (void)sk_str_cut(rest, '\n', &line, &rest);
            if (line.len > 0 && wan_command(r->matrix, line, &answer, &err) < 0) {
                break;
            }
        }
        if (err.code != 0) {
            sk_buf_printf(&reply, "error %s", err.msg);
        } else {
            sk_buf_adds(&reply, "ok\n");
            sk_buf_addstr(&reply, sk_buf_str(&answer));
        }
        if (from_len > sizeof(sa_family_t)) {
            /* who asked may have gone: then nobody misses the answer */
            (void)sendto(r->control, reply.ptr, reply.len, MSG_DONTWAIT, (void *)&from, from_len);
        }
        sk_buf_release(&answer);
        sk_buf_release(&reply);
    }
    free(text);
}

static int open_tun(const struct lab_wan_options *options, int *ret_fd, struct sk_err *err)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    if (strlen(options->device) >= sizeof(request.ifr_name)) {
        return sk_err_set(err, SK_ERR_USAGE, "device name '%s' is too long", options->device);
    }
    memcpy(request.ifr_name, options->device, strlen(options->device));
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return sk_err_errno(err, errno, "open '/dev/net/tun'");
    }
    int header = (int)sizeof(struct virtio_net_hdr);
    unsigned offload = TUN_F_CSUM | (options->gso ? TUN_F_TSO4 | TUN_F_TSO6 : 0U);
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
        ioctl(fd, TUNSETOFFLOAD, offload) < 0) {
        int code = errno;
        (void)close(fd);
        return sk_err_errno(err, code, "make TUN device '%s'", options->device);
    }
    *ret_fd = fd;
    return 0;
}

static int socket_address(const char *path, struct sockaddr_un *ret, struct sk_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        return sk_err_set(err, SK_ERR_USAGE, "socket path '%s' is longer than %zu bytes", path,
                          sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, path, strlen(path));
    *ret = address;
    return 0;
}

static int open_control(const char *path, int *ret_fd, struct sk_err *err)
{
    struct sockaddr_un address;
    int ret = socket_address(path, &address, err);
    if (ret < 0) {
        return ret;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return sk_err_errno(err, errno, "make a socket");
    }
    (void)unlink(path); /* left by a killed router */
    if (bind(fd, (void *)&address, sizeof(address)) < 0) {
        int code = errno;
        (void)close(fd);
        return sk_err_errno(err, code, "bind '%s'", path);
    }
    *ret_fd = fd;
    return 0;
}

static int open_signals(int *ret_fd, struct sk_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return sk_err_set(err, SK_ERR_INTERNAL, "block signals");
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return sk_err_errno(err, errno, "make a signal descriptor");
    }
    *ret_fd = fd;
    return 0;
}

static int route_until_signal(struct router *r, struct sk_err *err)
{
    struct pollfd fds[3] = {{r->tun, POLLIN, 0}, {r->control, POLLIN, 0}, {r->signals, POLLIN, 0}};
    for (;;) {
        struct timespec wait;
        uint64_t now = now_ns();
        uint64_t left = r->count > 0 && r->heap[0].due_ns > now ? r->heap[0].due_ns - now : 0;
        wait.tv_sec = (time_t)(left / 1000000000ULL);
        wait.tv_nsec = (long)(left % 1000000000ULL);
        if (ppoll(fds, 3, r->count > 0 ? &wait : NULL, NULL) < 0 && errno != EINTR) {
            return sk_err_errno(err, errno, "wait for packets");
        }
        if (fds[2].revents != 0) {
            return 0;
        }
        if ((fds[0].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
            return sk_err_set(err, SK_ERR_IO, "the TUN device is gone");
        }
        if (fds[1].revents != 0) {
            take_command(r);
        }
        take_packets(r);
        give_packets(r);
    }
}

int lab_wan_run(const struct lab_wan_options *options, struct sk_err *err)
{
    struct router r = {.tun = -1, .control = -1, .signals = -1};
    bool bound = false;
    int ret = open_tun(options, &r.tun, err);
    if (ret == 0) {
        ret = open_signals(&r.signals, err);
    }
    if (ret == 0) {
        ret = open_control(options->control_path, &r.control, err);
        bound = ret == 0;
    }
    if (ret == 0) {
        (void)prctl(PR_SET_TIMERSLACK, 1); /* accuracy only: the default of 50 us also works */
        struct sched_param fifo = {.sched_priority = 10};
        (void)sched_setscheduler(0, SCHED_FIFO, &fifo); /* not allowed: a little less accurate */
        r.matrix = sk_xmalloc(sizeof(*r.matrix));
        wan_matrix_init(r.matrix, options->seed);
        r.heap = sk_xcalloc(HEAP_PACKETS_MAX, sizeof(*r.heap));
        r.scratch = sk_xmalloc(PACKET_BYTES_MAX);
        ret = route_until_signal(&r, err);
    }
    while (r.count > 0) {
        free(heap_pop(&r).bytes);
    }
    free(r.heap);
    free(r.scratch);
    free(r.matrix);
    if (bound) {
        (void)unlink(options->control_path);
    }
    int fds[] = {r.tun, r.control, r.signals};
    for (size_t i = 0; i < SK_ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    return ret;
}

int lab_wan_command(const char *control_path, struct sk_str lines, struct sk_buf *reply,
                    struct sk_err *err)
{
    struct sockaddr_un address;
    int ret = socket_address(control_path, &address, err);
    if (ret < 0) {
        return ret;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return sk_err_errno(err, errno, "make a socket");
    }
    /* an address to be answered at: a path, for abstract ones end at the network namespace */
    char own_path[sizeof(address.sun_path) + 32];
    (void)snprintf(own_path, sizeof(own_path), "%s.%d.%d", control_path, (int)getpid(), fd);
    struct sockaddr_un self;
    ret = socket_address(own_path, &self, err);
    if (ret < 0) {
        (void)close(fd);
        return ret;
    }
    sk_autofree char *text = sk_xmalloc(REPLY_BYTES_MAX);
    ssize_t n = -1;
    struct pollfd p = {fd, POLLIN, 0};
    (void)unlink(own_path); /* left by a killed process of the same number */
    if (bind(fd, (void *)&self, sizeof(self)) < 0 ||
        connect(fd, (void *)&address, sizeof(address)) < 0 ||
        send(fd, lines.ptr, lines.len, 0) < 0) {
        ret = sk_err_errno(err, errno, "reach the delay router at '%s'", control_path);
    } else if (poll(&p, 1, 2000) <= 0 || (n = recv(fd, text, REPLY_BYTES_MAX, 0)) < 0) {
        ret = sk_err_set(err, SK_ERR_TIMEOUT, "the delay router at '%s' does not answer",
                         control_path);
    } else if (n < 3 || memcmp(text, "ok\n", 3) != 0) {
        struct sk_str words = {text, (size_t)n};
        ret = sk_err_set(err, SK_ERR_INPUT, "delay router: %.*s", SK_PRI(words));
    } else if (reply != NULL) {
        sk_buf_add(reply, text + 3, (size_t)n - 3);
    }
    (void)unlink(own_path);
    (void)close(fd);
    return ret;
}
