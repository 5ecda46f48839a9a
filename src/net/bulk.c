/* SPDX-License-Identifier: Apache-2.0 */
#include "net/bulk.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ROUND 32

struct net_bulk {
    bool receiving;
    int fd;
    unsigned nanswers;
    struct mmsghdr in[ROUND], out[ROUND];
    struct iovec in_iov[ROUND], out_iov[ROUND];
    struct sockaddr_storage from[ROUND], to[ROUND];
    uint8_t bytes[ROUND][NET_BULK_BYTES_MAX + 1]; /* one more, to see that it was too long */
    uint8_t answers[ROUND][NET_BULK_ANSWER_MAX];
};

struct net_bulk *net_bulk_new(void)
{
    struct net_bulk *bulk = sk_xcalloc(1, sizeof(*bulk));

    for (int i = 0; i < ROUND; i++) {
        bulk->in_iov[i] = (struct iovec){bulk->bytes[i], sizeof(bulk->bytes[i])};
        bulk->in[i].msg_hdr.msg_iov = &bulk->in_iov[i];
        bulk->in[i].msg_hdr.msg_iovlen = 1;
        bulk->in[i].msg_hdr.msg_name = &bulk->from[i];
        bulk->out_iov[i].iov_base = bulk->answers[i];
        bulk->out[i].msg_hdr.msg_iov = &bulk->out_iov[i];
        bulk->out[i].msg_hdr.msg_iovlen = 1;
        bulk->out[i].msg_hdr.msg_name = &bulk->to[i];
    }
    return bulk;
}

static void send_answers(struct net_bulk *bulk)
{
    unsigned sent = 0;

    while (sent < bulk->nanswers) {
        int n = sendmmsg(bulk->fd, bulk->out + sent, bulk->nanswers - sent, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            break; /* no room: the rest is lost, as it would be on the way */
        }
        sent += n > 0 ? (unsigned)n : 1; /* one of them failed, by itself */
    }
    bulk->nanswers = 0;
}

bool net_bulk_answer(struct net_bulk *bulk, const uint8_t *bytes, size_t len,
                     const struct sockaddr *to)
{
    struct mmsghdr *out = &bulk->out[bulk->nanswers];
    socklen_t size =
        to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (!bulk->receiving || len > NET_BULK_ANSWER_MAX) {
        return false;
    }
    memcpy(bulk->answers[bulk->nanswers], bytes, len);
    memcpy(&bulk->to[bulk->nanswers], to, size);
    bulk->out_iov[bulk->nanswers].iov_len = len;
    out->msg_hdr.msg_namelen = size;
    if (++bulk->nanswers == ROUND) {
        send_answers(bulk);
    }
    return true;
}

void net_bulk_receive(struct net_bulk *bulk, int fd, net_bulk_take_fn *take, void *ctx)
{
    int n = ROUND;

    bulk->receiving = true;
    bulk->fd = fd;
    for (int total = 0; n == ROUND && total < NET_BULK_MAX; total += ROUND) {
        for (int i = 0; i < ROUND; i++) {
            bulk->in[i].msg_hdr.msg_namelen = sizeof(bulk->from[i]);
        }
        n = recvmmsg(fd, bulk->in, ROUND, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++) {
            if (bulk->in[i].msg_len <= NET_BULK_BYTES_MAX && bulk->in[i].msg_hdr.msg_namelen > 0) {
                take(ctx, bulk->bytes[i], bulk->in[i].msg_len, (struct sockaddr *)&bulk->from[i]);
            }
        }
    }
    send_answers(bulk);
    bulk->receiving = false;
}

void net_bulk_free(struct net_bulk *bulk)
{
    free(bulk);
}
