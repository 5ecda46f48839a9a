/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_CLOCK_H
#define SK_SYS_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Clocks and randomness of the machine. Thread safe; they never fail (a kernel without them is a
 * bug in the installation and aborts).
 *
 * sys_now_ms() counts from boot and also while the machine sleeps (CLOCK_BOOTTIME), never steps and
 * is what every time-out, age and lease is counted by. sys_wall_ms() is what people and
 * certificates read; it may step, so nothing is ever measured by it.
 */
int64_t sys_now_ms(void);
int64_t sys_now_us(void);
int64_t sys_wall_ms(void); /* since 1970-01-01T00:00:00Z */

/* Bytes from the kernel's generator (getrandom), good for keys; waits for it early in a boot. */
void sys_random(void *ret_bytes, size_t len);

#endif
