/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

struct entry {
    struct entry *next;
    void *item;
};

struct sys_queue {
    pthread_mutex_t lock;
    uv_async_t wake;
    struct entry *first;
    struct entry **last;
    size_t count;
    size_t items_max;
    unsigned refs; /* the owner's, one of the loop handle, and those of pushers */
    bool closed;
    sys_queue_fn *on_item;
    void *ctx;
};

static struct entry *take_all(struct sys_queue *queue)
{
    struct entry *list;

    (void)pthread_mutex_lock(&queue->lock);
    list = queue->first;
    queue->first = NULL;
    queue->last = &queue->first;
    queue->count = 0;
    (void)pthread_mutex_unlock(&queue->lock);
    return list;
}

static void on_wake(uv_async_t *handle)
{
    struct sys_queue *queue = handle->data;
    struct entry *list = take_all(queue);

    while (list) {
        struct entry *next = list->next;
        void *item = list->item;
        free(list);
        queue->on_item(item, queue->ctx);
        list = next;
    }
}

struct sys_queue *sys_queue_new(uv_loop_t *loop, size_t items_max, sys_queue_fn *on_item, void *ctx)
{
    struct sys_queue *queue = sk_xcalloc(1, sizeof(*queue));

    (void)pthread_mutex_init(&queue->lock, NULL);
    queue->last = &queue->first;
    queue->items_max = items_max;
    queue->on_item = on_item;
    queue->ctx = ctx;
    queue->refs = 2;
    SK_ASSERT(uv_async_init(loop, &queue->wake, on_wake) == 0);
    queue->wake.data = queue;
    return queue;
}

bool sys_queue_push(struct sys_queue *queue, void *item)
{
    struct entry *entry = sk_xcalloc(1, sizeof(*entry));
    bool taken = false;

    entry->item = item;
    (void)pthread_mutex_lock(&queue->lock);
    if (!queue->closed && queue->count < queue->items_max) {
        *queue->last = entry;
        queue->last = &entry->next;
        queue->count++;
        taken = true;
        (void)uv_async_send(
            &queue->wake); /* under the lock: the handle is open while `closed` is false */
    }
    (void)pthread_mutex_unlock(&queue->lock);
    if (!taken) {
        free(entry);
    }
    return taken;
}

struct sys_queue *sys_queue_ref(struct sys_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->refs++;
    (void)pthread_mutex_unlock(&queue->lock);
    return queue;
}

void sys_queue_unref(struct sys_queue *queue)
{
    unsigned left;

    if (!queue) {
        return;
    }
    (void)pthread_mutex_lock(&queue->lock);
    left = --queue->refs;
    (void)pthread_mutex_unlock(&queue->lock);
    if (left == 0) {
        (void)pthread_mutex_destroy(&queue->lock);
        free(queue);
    }
}

static void on_closed(uv_handle_t *handle)
{
    sys_queue_unref(handle->data);
}

void sys_queue_close(struct sys_queue *queue, void (*drop)(void *item))
{
    struct entry *list;

    if (!queue) {
        return;
    }
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    (void)pthread_mutex_unlock(&queue->lock);
    list = take_all(queue);
    while (list) {
        struct entry *next = list->next;
        if (drop) {
            drop(list->item);
        } else {
            free(list->item);
        }
        free(list);
        list = next;
    }
    uv_close((uv_handle_t *)&queue->wake, on_closed);
    sys_queue_unref(queue);
}

struct sys_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct entry *first;
    struct entry **last;
    size_t count;
    size_t jobs_max;
    bool stopping;
    struct sys_queue *results;
};

static void on_result(void *item, void *ctx)
{
    struct sys_job *job = item;

    (void)ctx;
    job->done(job);
}

static struct sys_job *next_job(struct sys_worker *worker)
{
    struct entry *entry;
    struct sys_job *job = NULL;

    (void)pthread_mutex_lock(&worker->lock);
    while (!worker->first && !worker->stopping) {
        (void)pthread_cond_wait(&worker->more, &worker->lock);
    }
    entry = worker->first;
    if (entry) {
        worker->first = entry->next;
        if (!worker->first) {
            worker->last = &worker->first;
        }
        job = entry->item;
    }
    (void)pthread_mutex_unlock(&worker->lock);
    free(entry);
    return job;
}

static void *worker_main(void *arg)
{
    struct sys_worker *worker = arg;
    struct sys_job *job;

    while ((job = next_job(worker))) {
        job->run(job);
        (void)pthread_mutex_lock(&worker->lock);
        worker->count--;
        (void)pthread_mutex_unlock(&worker->lock);
        /* never full: the results' bound is above what the worker can hold */
        SK_ASSERT(sys_queue_push(worker->results, job));
    }
    return NULL;
}

struct sys_worker *sys_worker_new(uv_loop_t *loop, const char *thread_name, size_t jobs_max)
{
    struct sys_worker *worker = sk_xcalloc(1, sizeof(*worker));
    pthread_attr_t attr;

    (void)pthread_mutex_init(&worker->lock, NULL);
    (void)pthread_cond_init(&worker->more, NULL);
    worker->last = &worker->first;
    worker->jobs_max = jobs_max;
    worker->results = sys_queue_new(loop, SIZE_MAX, on_result, worker);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 1024u * 1024);
    SK_ASSERT(pthread_create(&worker->thread, &attr, worker_main, worker) == 0);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_setname_np(worker->thread, thread_name);
    return worker;
}

bool sys_worker_submit(struct sys_worker *worker, struct sys_job *job)
{
    struct entry *entry = sk_xcalloc(1, sizeof(*entry));
    bool taken = false;

    entry->item = job;
    (void)pthread_mutex_lock(&worker->lock);
    if (!worker->stopping && worker->count < worker->jobs_max) {
        *worker->last = entry;
        worker->last = &entry->next;
        worker->count++;
        taken = true;
        (void)pthread_cond_signal(&worker->more);
    }
    (void)pthread_mutex_unlock(&worker->lock);
    if (!taken) {
        free(entry);
    }
    return taken;
}

void sys_worker_free(struct sys_worker *worker)
{
    if (!worker) {
        return;
    }
    (void)pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    (void)pthread_cond_signal(&worker->more);
    (void)pthread_mutex_unlock(&worker->lock);
    (void)pthread_join(worker->thread, NULL);
    on_wake(&worker->results->wake); /* what is done but not yet told */
    sys_queue_close(worker->results, NULL);
    (void)pthread_cond_destroy(&worker->more);
    (void)pthread_mutex_destroy(&worker->lock);
    free(worker);
}
