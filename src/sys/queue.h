/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_SYS_QUEUE_H
#define SK_SYS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/*
 * The only way between threads: bounded queues of owned messages.
 *
 * sys_queue: any thread pushes, the loop thread receives. The ownership of an item moves with it:
 * after a push that returned true the pusher must not touch it. A full or closed queue returns
 * false and the item stays the pusher's.
 *
 * sys_worker: one thread that runs jobs in order; each job's `done` runs on the loop thread. A job
 * must not touch what the loop owns. Used for what blocks: the store's commits, the planner.
 */
struct sys_queue;
typedef void sys_queue_fn(void *item, void *ctx);

struct sys_queue *sys_queue_new(uv_loop_t *loop, size_t items_max, sys_queue_fn *on_item,
                                void *ctx);
bool sys_queue_push(struct sys_queue *queue, void *item); /* any thread */
/* Loop thread. Items not yet received go to `drop` (NULL: free). The queue is freed once the loop
 * has closed its handle; pushes that come later return false as long as the pusher holds a
 * reference by sys_queue_ref(). */
void sys_queue_close(struct sys_queue *queue, void (*drop)(void *item));
struct sys_queue *sys_queue_ref(struct sys_queue *queue);
void sys_queue_unref(struct sys_queue *queue);

struct sys_worker;
struct sys_job {
    void (*run)(struct sys_job *job);  /* on the worker's thread */
    void (*done)(struct sys_job *job); /* on the loop thread; may free the job that embeds it */
};

struct sys_worker *sys_worker_new(uv_loop_t *loop, const char *thread_name, size_t jobs_max);
bool sys_worker_submit(struct sys_worker *worker, struct sys_job *job); /* false: full */
/* Finishes what was submitted (run, and done), then ends the thread. Blocks. */
void sys_worker_free(struct sys_worker *worker);

#endif
