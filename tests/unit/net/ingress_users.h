/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_TESTS_NET_INGRESS_USERS_H
#define SK_TESTS_NET_INGRESS_USERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Users of the shop (the lab's load generator), and what may be said of a run that counts failures.
 *
 * A run says something only if the machine let users, sites and replicas run. One without failures
 * always counts. One with failures does not if in most of its time (PRESSURE_MAX, from
 * /proc/pressure/cpu) somebody waited for a processor: it is printed, with its rate, its count and
 * that share, and made again, RUN_TRIES times in all; a test that had no other run is skipped. On a
 * machine that has time, and on one that does not tell, a failure is a failure.
 *
 * Calling sequence: a run is a function that begins a stretch (users do it by themselves), ends it
 * with the number of failures and returns what the end returned, after its cleaning up;
 * nothing_fails(run) is the test, and main returns program_result() of what cmocka says.
 */
#define PRESSURE_MAX 0.8 /* the share of the time */
#define RUN_TRIES 3
#define RUN_INVALID (-1)

typedef long run_fn(void); /* failures, or RUN_INVALID */
void nothing_fails(run_fn *run);

/* Exit status: 77 (skipped) if nothing failed and every test of nothing_fails() was skipped. */
int program_result(int failed);

/* A stretch of time, and how long somebody had waited for a processor when it began. */
struct stretch {
    int64_t start_ms;
    double waited_us;
};

struct stretch stretch_begin(void);

/* Returns failed, or RUN_INVALID. rate: requests in a second, 0 = one after the other. */
long stretch_end(const struct stretch *s, unsigned rate, long requests, long failed);

struct users {
    pid_t pid;
    unsigned rate;
    double seconds;
    struct stretch stretch;
    char out[64], config[64];
};

/* Requests for the shop at this address, at a rate that does not wait for answers. */
struct users start_users(const char *address, unsigned rate, double seconds, bool keep_alive);

/* Turns the loop until they are done; checks that all requests were made. As stretch_end(). */
long end_users(struct users *u);

#endif
