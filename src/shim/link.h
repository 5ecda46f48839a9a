/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_LINK_H
#define SHIM_LINK_H

#include <stddef.h>

/*
 * Network links by rtnetlink, without any library: what the shim needs for its instance, and the
 * agent for its bridge. IPv4. Functions return 0, or -1 with one line in `reason`. They block for a
 * few system calls. Source: rtnetlink(7), veth(4), linux/if_link.h.
 */
struct link_instance {
    const char *bridge;  /* in the caller's network namespace */
    const char *veth;    /* name of the outer end, at most 15 bytes; a stale one is replaced */
    const char *address; /* "10.210.3.7/24" */
    const char *gateway; /* "10.210.3.1" */
};

/* Moves the caller into a new network namespace with `lo` and `eth0` up, eth0 being joined to the
 * bridge of the namespace it came from. Single-threaded callers only. The hardware address is made
 * from the IP address, so neighbours need not learn anew when an instance restarts. */
int link_instance_up(const struct link_instance *link, char *reason, size_t reason_size);

/* Makes the bridge `name` in the caller's namespace, if it is not there, gives it `address`
 * ("10.210.3.1/24") and puts it up. */
int link_bridge_up(const char *name, const char *address, char *reason, size_t reason_size);
/* Removes link `name`; one that does not exist is no error. */
int link_remove(const char *name, char *reason, size_t reason_size);

#endif
