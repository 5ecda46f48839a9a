/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_BULK_H
#define SK_NET_BULK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * Many datagrams with few system calls. A control node of 10,000 nodes takes 40,000 small datagrams
 * a second and answers each; one call for each would cost more than all else that is done about
 * them, and libuv reads at most 32 in a turn of its loop, so the rest would be dropped unread.
 *
 * net_bulk_receive() reads what waits at the socket, at most NET_BULK_MAX, and hands each over;
 * net_bulk_answer() in the callback keeps a small answer, and all go out together. Nothing waits
 * beyond the call. One struct for one socket; one thread.
 */
#define NET_BULK_MAX 512
#define NET_BULK_BYTES_MAX 1200 /* longer datagrams are dropped */
#define NET_BULK_ANSWER_MAX 64

struct net_bulk;

typedef void net_bulk_take_fn(void *ctx, const uint8_t *bytes, size_t len,
                              const struct sockaddr *from);

struct net_bulk *net_bulk_new(void);
/* The socket does not block. */
void net_bulk_receive(struct net_bulk *bulk, int fd, net_bulk_take_fn *take, void *ctx);
/* False outside of net_bulk_receive(), and for a longer one: to be sent by other means. An answer
 * that cannot be sent is one that is lost. */
bool net_bulk_answer(struct net_bulk *bulk, const uint8_t *bytes, size_t len,
                     const struct sockaddr *to);
void net_bulk_free(struct net_bulk *bulk); /* NULL allowed */

#endif
