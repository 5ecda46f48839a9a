/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_VERSION_H
#define SK_BASE_VERSION_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

/*
 * Which version this program is, and what it has that an older one does not know. version.c is this
 * version, which adds nothing. tests/next/next.c takes its place in the test build of the next
 * version, so that the two can be run side by side: it writes a member more into every frame,
 * record and file, speaks one protocol more and knows one frame more.
 *
 * Threads: any; nothing here changes while a program runs.
 */
const char *sk_version(void);

/* The protocols of the channel that it speaks. */
int sk_protocol_min(void);
int sk_protocol_max(void);

/* What goes before the last brace of a JSON map that is sent or stored: "" or ",\"name\":value".
 * "" too where `map` has it already. */
struct sk_str sk_version_mark(struct sk_str map);

/* The same, put into `map`, the text of one JSON map. */
void sk_version_extend(struct sk_buf *map);

/* The frame that it sends to control as soon as a channel of this protocol is up; "" = none. */
struct sk_str sk_version_greeting(int protocol);
/* Whether it knows this type of frame, of which control makes nothing else. */
bool sk_version_knows(struct sk_str frame_type);

#endif
