/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_LOAD_CONN_H
#define LAB_LOAD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "lab/load.h"

/*
 * One try of a request at one ingress (private to load*.c): a non-blocking connection, the request,
 * the answer. Registered in an epoll instance with the try as its data.
 */
struct load_try {
    int fd;
    bool connected, reused;
    bool broken; /* it could not even begin */
    bool dead;   /* freed after the present batch of events */
    size_t sent;
    unsigned ingress;
    struct load_request *request;
    struct load_answer answer;
    struct load_try *next_dead;
};

/* Idle connections kept for reuse, by population and ingress. */
#define LOAD_IDLE_MAX 256
struct load_idle {
    int fds[LOAD_IDLE_MAX];
    size_t count;
};

struct load_conns {
    int epoll;
    bool keep_alive;
    const struct load_options *options;
    int home_ns, now_ns;                     /* descriptors; now_ns = the one we are in */
    int population_ns[LOAD_POPULATIONS_MAX]; /* -1 = home */
    struct load_idle *idle;                  /* [population * LOAD_INGRESS_MAX + ingress] */
    char *request;                           /* the bytes of every request: they are all alike */
    size_t request_len;
    struct load_try *dead;
};

int load_conns_init(struct load_conns *c, const struct load_options *options, struct sk_err *err);
void load_conns_release(struct load_conns *c);

/* Begins a try; NULL if the machine would not give a socket (the generator's own failure). A
 * connection that fails at once is reported by load_try_step() like any other. */
struct load_try *load_try_start(struct load_conns *c, size_t population, unsigned ingress,
                                bool may_reuse, struct load_request *request);
/* Goes on as far as the socket allows. LOAD_BROKEN: it failed. LOAD_WHOLE: t->answer is complete.
 */
enum load_feed load_try_step(struct load_conns *c, struct load_try *t);
/* Ends a try; its connection is kept for reuse if its answer was whole and allows it. */
void load_try_end(struct load_conns *c, struct load_try *t, size_t population);
void load_tries_bury(struct load_conns *c); /* frees what ended; between two batches of events */

#endif
