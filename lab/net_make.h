/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_NET_MAKE_H
#define LAB_NET_MAKE_H

#include "base/buf.h"
#include "base/err.h"
#include "lab/net_state.h"

/* How a lab is made, and the tools that change one (private to net*.c). */
#define LAB_TOOL_MS 20000               /* a loaded machine is slow, a hung tool must still end */
#define LAB_TABLE(site) (1000 + (site)) /* of the router's routes for a site */

/* What it will be made of; makes its folder. */
int lab_net_describe(const struct lab_topology *topology, const struct lab_net_options *options,
                     struct lab_net *net, struct sk_err *err);
/* Namespaces, wires, keeper with router, routes, firewall, delays, disks. On failure what was made
 * stays: lab_remove(). */
int lab_net_make(struct lab_net *net, const struct lab_topology *topology,
                 const struct lab_net_options *options, struct sk_err *err);

/* `ip -batch -`, in the namespace of that path when one is given. */
int lab_ip_batch(const char *netns, const struct sk_buf *commands, struct sk_err *err);
/* `nft -f -` in the router. */
int lab_nft_load(const struct lab_net *net, const struct sk_buf *rules, struct sk_err *err);
/* The router's command (wan_matrix.h) for one direction. */
void lab_add_set(struct sk_buf *out, unsigned from, unsigned to, const struct lab_direction *d);

#endif
