/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/clock.h"
#include "sim/sim.h"

/*
 * The clocks of the nodes. Each runs at its own rate and never steps; the wall clock beside it may.
 *
 * The functions of sys/clock.h are defined here too: what code of the binary is linked that would
 * ask the machine for the time is told a node's, so that nothing of a run depends on when it runs.
 */
int64_t sim_local_us(const struct sim *s, const struct sim_node *n)
{
    return n->clock.local_us + (int64_t)((double)(s->now_us - n->clock.base_us) * n->clock.rate);
}

int64_t sim_local_ms(const struct sim *s, const struct sim_node *n)
{
    return sim_local_us(s, n) / 1000;
}

int64_t sim_wall_ms(const struct sim *s, const struct sim_node *n)
{
    return (sim_local_us(s, n) + n->clock.wall_us) / 1000;
}

int64_t sim_until_local_us(const struct sim *s, const struct sim_node *n, int64_t local_ms)
{
    int64_t left = local_ms * 1000 - sim_local_us(s, n);
    return left <= 0 ? 0 : (int64_t)((double)left / n->clock.rate) + 1;
}

static int64_t shown_us, shown_wall_ms;

void sim_clock_show(const struct sim *s, const struct sim_node *n)
{
    shown_us = sim_local_us(s, n);
    shown_wall_ms = sim_wall_ms(s, n);
}

int64_t sys_now_ms(void)
{
    return shown_us / 1000;
}

int64_t sys_now_us(void)
{
    return shown_us;
}

int64_t sys_wall_ms(void)
{
    return shown_wall_ms;
}

void sys_random(void *ret_bytes, size_t len)
{
    memset(ret_bytes, 7, len);
}
