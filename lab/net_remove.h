/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_NET_REMOVE_H
#define LAB_NET_REMOVE_H

#include "lab/net_state.h"

/* Ends every process in the lab's namespaces, removes the namespaces, then the record (private to
 * net*.c). What is gone already is passed over, so it may be called again and again. */
void lab_remove(const struct lab_net *net);

#endif
