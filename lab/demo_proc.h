/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_PROC_H
#define LAB_DEMO_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lab/demo_world.h"

/*
 * What /proc says about a demo's processes (private to demo*.c): an observer of its own, which asks
 * no part of skerry.
 *
 * A process belongs to a node if its command line names the node's data folder, if it lives in the
 * node's network namespace, or if its parent belongs to it. An instance is known by SKERRY_INSTANCE
 * in its environment.
 */
#define DEMO_INSTANCES_MAX 256
#define DEMO_MEMBERS_MAX 2048

struct demo_instance {
    char id[33];
    char service[DEMO_NAME_MAX], node[DEMO_NAME_MAX], site[DEMO_NAME_MAX];
    char host[20]; /* where it listens: of its container, or of its node; "" if it does not say */
    uint16_t port;
    uint64_t start_ns; /* when its first process began, CLOCK_MONOTONIC, to 10 ms */
};

/* What earlier looks found out about a process that has settled (it will not exec any more, as far
 * as one can tell): most processes of a machine are not ours, and need not be read again. */
#define DEMO_KNOWN 16384
struct demo_known {
    pid_t pid;
    unsigned look; /* the last look that saw it: a gap may mean another process of that number */
    int node;      /* -1 = none of ours */
    ino_t netns;
};

struct demo_scan {
    struct demo_known known[DEMO_KNOWN]; /* by pid */
    unsigned look;
    struct demo_instance instances[DEMO_INSTANCES_MAX];
    size_t ninstances;
    struct demo_member {
        pid_t pid;
        size_t node; /* index into the world's nodes */
        unsigned long rss_kb;
        char name[24]; /* of the program */
    } members[DEMO_MEMBERS_MAX];
    size_t nmembers;
};

/* `scan` is zeroed before the first look, and given again for the next. */
void demo_scan(const struct demo_world *w, struct demo_scan *scan);
/* Sends a signal to every process of a node, and again to what was forked meanwhile. Returns how
 * many got it. */
size_t demo_signal(const struct demo_world *w, const char *site, int sig);
/* All processes of every node. */
size_t demo_signal_all(const struct demo_world *w, int sig);

#endif
