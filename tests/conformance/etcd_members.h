/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONFORMANCE_ETCD_MEMBERS_H
#define TESTS_CONFORMANCE_ETCD_MEMBERS_H

#include <sys/types.h>

#include "store/etcd.h"

/*
 * Real members of etcd on loopback: own ports, data and certificates in a folder of their own,
 * which members_stop() removes. They are children and die with the test.
 */
#define MEMBERS_MAX 3

struct member {
    pid_t pid; /* 0: not running */
    int client_port, peer_port;
};
struct members {
    int count;
    struct member member[MEMBERS_MAX];
    char dir[64];
    char ca[96], cert[96], key[96];                            /* a client's files */
    char stranger_cert[96], stranger_key[96], stranger_ca[96]; /* of another authority */
    char urls[MEMBERS_MAX][64];
};

bool members_can_run(void); /* false: says why */
/* The folder, the certificates and free ports alone, without members; members_stop() ends it too.
 */
void members_prepare(struct members *m, int count);
/* Returns once every member answers. Fails the test otherwise. */
void members_start(struct members *m, int count);
void members_stop(struct members *m);
void member_start(struct members *m, int i); /* again, with its data */
void member_kill(struct members *m, int i);  /* kill -9 */
void member_pause(struct members *m, int i);
void member_resume(struct members *m, int i);
/* Options for all members from number `first` on, in `urls`, which must live as long. */
void members_options(struct members *m, int first, const char *urls[MEMBERS_MAX],
                     struct store_etcd *ret);

#endif
