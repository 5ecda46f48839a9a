/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_NET_STATE_H
#define LAB_NET_STATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "lab/net.h"

/*
 * What a lab is made of, as written down (private to net*.c). The record comes first, the things it
 * names after it, and it is removed last: whoever finds it can clear the rest away.
 */
struct lab_net {
    char id[16];
    char dir[LAB_DIR_MAX];
    pid_t owner; /* 0 = nobody in particular */
    unsigned long long owner_start;
    /* Who makes it; once it is made, 0, and its keeper takes over. */
    pid_t maker, keeper;
    unsigned long long maker_start, keeper_start;
    bool own_dir;
    char router[128];  /* path of the router's network namespace */
    char control[300]; /* the delay router's socket */
    size_t nsites;
    char sites[LAB_SITES_MAX + 1][64]; /* by site number; [0] is unused */
    size_t nnodes;
    struct lab_node nodes[LAB_NODES_MAX];
};

/* Writes DIR/lab.json and the registry's copy. */
int lab_state_write(const struct lab_net *net, struct sk_err *err);
/* *ret: free(). SK_ERR_NOT_FOUND, SK_ERR_CORRUPT. */
int lab_state_read(const char *path, struct lab_net **ret, struct sk_err *err);
void lab_state_remove(const struct lab_net *net);
/* Neither has died whom the lab needs: its maker before, its keeper after it was made. */
bool lab_state_is_kept(const struct lab_net *net);
bool lab_state_owner_lives(const struct lab_net *net);
/* Where its keeper listens. */
struct sockaddr_un;
void lab_keep_address(const struct lab_net *net, struct sockaddr_un *ret);
/* The lock under which labs are made and removed; close(fd) gives it back. */
int lab_state_lock(int *ret_fd, struct sk_err *err);

#endif
