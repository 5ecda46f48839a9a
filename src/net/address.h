/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_ADDRESS_H
#define SK_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Addresses as people write them: "203.0.113.7", "203.0.113.7:7400", "[2001:db8::1]:7400",
 * "2001:db8::1", "fra1.example.com:7400". Pure text work, no name is ever looked up here.
 */
#define NET_HOST_SIZE 256    /* a host name or address with its NUL */
#define NET_ADDRESS_SIZE 320 /* "[host]:port" with its NUL */

bool net_is_host_name(struct sk_str name); /* lower-case labels with dots between */
/* Splits and checks. `port_dflt` where none is written. SK_ERR_INPUT. */
int net_address_split(struct sk_str text, uint16_t port_dflt, char ret_host[NET_HOST_SIZE],
                      uint16_t *ret_port, struct sk_err *err);
/* The same, of numeric addresses only, into a socket address. */
int net_address_parse(struct sk_str text, uint16_t port_dflt, struct sockaddr_storage *ret,
                      struct sk_err *err);
/* "203.0.113.7:7400" or "[2001:db8::1]:7400"; "?" for a family that is neither. */
void net_address_print(const struct sockaddr *sa, char ret_text[NET_ADDRESS_SIZE]);
/* The address alone, without port: what limits per source count by. */
void net_address_host(const struct sockaddr *sa, char ret_text[NET_HOST_SIZE]);

#endif
