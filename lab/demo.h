/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_DEMO_H
#define LAB_DEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The demo: three sites and a control node on this machine, an app, users; a site dies silently;
 * what the plan predicted stands beside what was observed (docs/demo.md).
 *
 * As root sites are namespaces with real delays and services are containers; otherwise sites are
 * loopback addresses and services are programs. Everything is taken down at the end, and what an
 * earlier demo left that was killed, at the beginning. Blocks; becomes the reaper of what its
 * children leave; one at a time in a process.
 */
struct demo_options {
    const char *skerry;      /* path of the skerry program */
    const char *lab_program; /* path of skerry-lab */
    const char *examples;    /* folder with the shop */
    const char *kill;        /* the site to lose; NULL = the first that serves */
    bool stop;               /* SIGSTOP instead of SIGKILL: hangs rather than dies */
    bool exit;               /* end after the closing table instead of staying up */
    bool json;               /* the closing data as JSON on standard output; the rest to stderr */
    uint64_t seed;           /* of the users */
    double seconds;          /* watched after the cut; 0 = 15 */
    const char *expect; /* a plan (JSON file) whose prediction is held against what is observed,
                           instead of the cluster's own; NULL = the cluster's */
};

/* *ret_agrees: what was observed is what was predicted. */
int demo_run(const struct demo_options *options, bool *ret_agrees, struct sk_err *err);

#endif
