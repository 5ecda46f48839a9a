/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/*
 * Images that nothing uses any more. In use is what an assignment names, what is to be there before
 * a loss, what the folder of any instance was started from, and what is being fetched. Each look
 * marks those (the time of DIR/images/HEX/used); one whose mark is too old is removed. So what has
 * no mark yet, or one of a clock that was ahead, gets its whole time from now on.
 *
 * The wall clock, because the mark must hold over restarts of the machine: a wrong one costs a
 * fetch at worst.
 */
#define COLLECT_FIRST_MS 60000 /* soon after the start too: some agents do not live for hours */

static int64_t wall_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool names(const struct agent *agent, struct sk_str ref, struct sk_str digest,
                  const char *hex)
{
    char found[65];
    return images_hex_of(agent->images, ref, digest, found) && strcmp(found, hex) == 0;
}

static bool in_use(const struct agent *agent, const char *hex)
{
    const struct assign_set *set = agent->assigned;
    const struct work *work, *next;

    for (size_t i = 0; i < set->count; i++) {
        const struct assignment *a = &set->items[i];
        if (a->driver == DRIVER_OCI && names(agent, a->image.ref, a->image.digest, hex)) {
            return true;
        }
    }
    for (size_t i = 0; i < set->nprefetch; i++) {
        if (names(agent, set->prefetch[i].ref, set->prefetch[i].digest, hex)) {
            return true;
        }
    }
    HASH_ITER (hh, agent->works, work, next) {
        if (strcmp(work->image, hex) == 0) {
            return true;
        }
    }
    return images_fetching(agent->images, hex);
}

static void mark(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd >= 0) {
        (void)futimens(fd, NULL); /* one that cannot be marked now is marked at the next look */
        (void)close(fd);
    }
}

static void look_at(struct agent *agent, const char *hex)
{
    char path[AGENT_PATH_MAX + 96];
    struct stat st;
    int64_t age_ms = -1;

    (void)snprintf(path, sizeof(path), "%s/images/%.64s/used", agent->dir, hex);
    if (stat(path, &st) == 0) {
        age_ms = wall_ms() - ((int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000);
    }
    if (age_ms < 0 || in_use(agent, hex)) {
        mark(path);
    } else if (age_ms >= agent->config.image_keep_ms && images_remove(agent->images, hex)) {
        sk_log(SK_LOG_INFO, "image removed", "image=sha256:%s why=not used for %lld s", hex,
               (long long)(age_ms / 1000));
    }
}

static void on_collect(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    char path[AGENT_PATH_MAX + 16];
    struct dirent *entry;
    DIR *dir;

    if (!agent->assigned) {
        return; /* nobody has said yet what is wanted here */
    }
    (void)snprintf(path, sizeof(path), "%s/images", agent->dir);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        if (strlen(entry->d_name) == 64 && strspn(entry->d_name, "0123456789abcdef") == 64) {
            look_at(agent, entry->d_name);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

void collect_start(struct agent *agent)
{
    int64_t every = agent->config.image_keep_ms / IMAGE_LOOKS;
    int64_t first = every < COLLECT_FIRST_MS ? every : COLLECT_FIRST_MS;

    (void)uv_timer_init(&agent->loop, &agent->collect_timer);
    agent->collect_timer.data = agent;
    if (agent->images) {
        (void)uv_timer_start(&agent->collect_timer, on_collect, (uint64_t)first,
                             every > 0 ? (uint64_t)every : 1);
    }
}
