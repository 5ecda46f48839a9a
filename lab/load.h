/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_LOAD_H
#define LAB_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "lab/load_stats.h"

/*
 * Users: an open-loop load generator over HTTP.
 *
 * Requests are due at a fixed rate, whether or not earlier ones were answered, and latency counts
 * from when a request was due. Each user (drawn from the populations by share, repeatably by seed)
 * holds all ingress addresses of its population, nearest first: the next is tried as well after
 * `next_ms` without an answer, and at once when a connection fails. The first whole answer decides;
 * a status of 500 or more is a failure and is not tried again. A request that has no answer after
 * timeout_ms failed.
 *
 * Single thread, epoll. Connections of a population are made in its network namespace.
 */
#define LOAD_INGRESS_MAX 16
#define LOAD_POPULATIONS_MAX 64
#define LOAD_RATE_MAX 20000.0
#define LOAD_TICK_MS 250

struct load_ingress {
    const char *site;
    struct sockaddr_in address;
};

struct load_population {
    const char *name;
    double share;
    const char *netns; /* path, NULL = where the generator runs */
    struct load_ingress ingress[LOAD_INGRESS_MAX];
    size_t ningress;
};

struct load_options {
    double rate;    /* requests a second */
    double seconds; /* 0 = until told */
    uint64_t seed;
    const char *host; /* of the Host header */
    const char *path;
    bool keep_alive; /* false: a new connection per request */
    int64_t next_ms;
    int64_t timeout_ms;
    struct load_population *populations;
    size_t npopulations;
    const char *csv;     /* every request, one a line; NULL = none */
    const char *control; /* unix datagram socket: "cut", "cut NANOSECONDS", "stop"; NULL = none */
};

/* Reads the JSON of docs/lab.md. Everything of *ret lives in the arena. */
int load_options_read(struct sk_arena *arena, const char *name, struct sk_str json,
                      struct load_options *ret, struct sk_err *err);

/*
 * Runs to the end (SIGTERM and SIGINT, blocked for the calling thread, also end it; SIGUSR1 marks
 * the cut). Writes one JSON object a line to `live`:
 * {"event":"tick"|"instance"|"cut"|"summary"...}. *ret_stats (zeroed by the caller, large) holds
 * what was seen.
 */
int load_run(const struct load_options *options, FILE *live, struct load_stats *ret_stats,
             struct sk_err *err);

#endif
