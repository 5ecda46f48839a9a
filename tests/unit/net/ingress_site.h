/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_TESTS_NET_INGRESS_SITE_H
#define SK_TESTS_NET_INGRESS_SITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>
#include <uv.h>

#include "net/identity.h"
#include "net/ingress.h"

/*
 * What the tests of the ingress share: a real HAProxy on loopback at up to two sites (127.0.0.1 and
 * 127.0.0.2, the same ports), and small HTTP servers as replicas. Every test runs between setup()
 * and teardown(), which also closes sites that a failed test left open; all of one thread. What
 * cannot be made fails the test.
 */
extern uv_loop_t loop; /* a tick of 5 ms keeps it turning */
extern uint16_t http_port, inter_port;
extern struct net_ca *ca;

int setup(void **state);
int teardown(void **state);

void pump(int64_t ms); /* turns the loop */
uint16_t free_port(void);

/* ---- replicas: processes that answer every request with their name ---- */

struct replica {
    pid_t pid;
    uint16_t port;
    char id[16];
};

struct replica start_replica(const char *id);
void kill_replica(struct replica *r); /* again is allowed */

/* ---- sites ---- */

struct site {
    struct ingress *ing;
    char dir[64];
    const char *name, *address;
    struct ingress_service services[2]; /* shop/web, and shop/extra, which is not in the view yet */
    struct ingress_endpoint local[8];
    struct ingress_remote remote[2];
    struct ingress_view view;
    unsigned events[INGRESS_FAILED + 1];
    char last_error[512];
    bool stopped;
};

/* program: NULL = the HAProxy of this machine. */
void open_site(struct site *s, const char *name, const char *address, const char *program);
void close_site(struct site *s);
void close_in_teardown(struct site *s); /* one that was opened otherwise, if a test leaves it */

/* Two sites, each the other's remote, that have seen each other: fra with the replicas at_fra, the
 * first of which is called a, ams with one that is called b. */
void open_pair(struct site *fra, struct site *ams, const struct replica *const *at_fra, size_t nfra,
               const struct replica *const *at_ams);

/* The callbacks of a site's ingress; ctx is the site. */
void on_event(void *ctx, enum ingress_event event, const struct sk_err *err);
void on_stopped(void *ctx);

/* A key and a certificate of `ca` for this node; serial may be NULL. */
void identity_of(const char *node, struct sk_buf *key, struct sk_buf *cert, char serial[64]);
void give_identity(struct site *s, const char *node);

void set_local(struct site *s, const struct replica *const *list, size_t count);
void apply(struct site *s);
void settle(struct site *s); /* until HAProxy serves what was applied, at most 8 s */

/* ---- questions ---- */

/* One request; returns its status (0 = no answer in 3 s), and its whole text in out. `more` is more
 * lines of its header. */
int ask_with(const char *address, uint16_t port, const char *host, const char *more, char *out,
             size_t size);
int ask(const char *address, uint16_t port, const char *host, char *out, size_t size);

/* Asks for the shop until an answer holds `want`, at most 3 s. */
bool comes_to(const char *address, const char *want);

#endif
