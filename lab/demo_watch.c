/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/tree.h"
#include "lab/spawn.h"

#define ASK_MS 150
#define END_MS 4000
#define TEXT_BYTES_MAX (1 << 20)

uint64_t watch_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

void watch_note(struct demo_watch *w, uint64_t at_ns, const char *fmt, ...)
{
    if (w->nnotes == WATCH_NOTES_MAX) {
        return; /* the story has more lines than anybody reads */
    }
    struct watch_note *note = &w->notes[w->nnotes++];
    va_list ap;
    note->at_ns = at_ns;
    va_start(ap, fmt);
    (void)vsnprintf(note->text, sizeof(note->text), fmt, ap);
    va_end(ap);
}

int watch_start(const struct demo_cluster *cluster, const char *site, double rate, uint64_t seed,
                struct demo_watch *ret, struct sk_err *err)
{
    char config[160];
    int out[2];
    (void)snprintf(config, sizeof(config), "%s/users.json", cluster->dir);
    int r = demo_users_write(cluster, rate, seed, config, err);
    if (r < 0) {
        return r;
    }
    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0) {
        return sk_err_errno(err, errno, "make a pipe");
    }
    /* only our end must not block */
    (void)fcntl(out[1], F_SETFL, 0);
    const char *const argv[] = {cluster->lab_program, "load", config, NULL};
    struct lab_spawn how = LAB_SPAWN_INIT;
    how.out = out[1];
    how.err = 2;
    how.new_session = true; /* Ctrl-C is for the demo, which ends them in order */
    how.die_with_parent = true;
    *ret = (struct demo_watch){.cluster = cluster, .site = site, .fd = out[0]};
    r = lab_spawn(&how, argv, &ret->users, err);
    (void)close(out[1]);
    if (r < 0) {
        (void)close(out[0]);
        return r;
    }
    ret->start_ns = watch_now_ns();
    ret->scan = sk_xcalloc(1, sizeof(*ret->scan));
    return 0;
}

void watch_release(struct demo_watch *w)
{
    lab_end(w->users, 500);
    w->users = 0;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
    sk_buf_release(&w->text);
    free(w->scan);
    w->scan = NULL;
}

static struct watch_seen *seen_of(struct demo_watch *w, const char *id)
{
    for (size_t i = 0; i < w->nseen; i++) {
        if (strcmp(w->seen[i].in.id, id) == 0) {
            return &w->seen[i];
        }
    }
    if (w->nseen == DEMO_INSTANCES_MAX || strlen(id) >= sizeof(w->seen[0].in.id)) {
        return NULL;
    }
    struct watch_seen *s = &w->seen[w->nseen++];
    memcpy(s->in.id, id, strlen(id) + 1);
    return s;
}

/* ---- what users say ---- */

static void take_text(const struct sk_node *map, const char *key, char *out, size_t size)
{
    (void)snprintf(out, size, "%.*s", SK_PRI(sk_map_str(map, key, SK_STR(""))));
}

static bool has_route(const struct demo_watch *w, const char *service)
{
    int64_t i = project_service(w->cluster->world.shop, sk_str(service));
    return i >= 0 && w->cluster->world.shop->services[i].has_route;
}

/* The one service that users reach: answers name instances, not services. */
static const char *routed(const struct demo_watch *w)
{
    for (size_t i = 0; i < w->cluster->world.shop->nservices; i++) {
        if (w->cluster->world.shop->services[i].has_route) {
            return w->cluster->world.shop->services[i].name.ptr;
        }
    }
    return "";
}

static void take_answer(struct demo_watch *w, const struct sk_node *e, uint64_t at_ns)
{
    char id[LOAD_NAME_MAX];
    take_text(e, "instance", id, sizeof(id));
    struct watch_seen *s = seen_of(w, id);
    if (s == NULL || s->first_answer_ns != 0) {
        return;
    }
    s->first_answer_ns = at_ns;
    take_text(e, "node", s->in.node, sizeof(s->in.node));
    take_text(e, "site", s->in.site, sizeof(s->in.site));
    (void)snprintf(s->in.service, sizeof(s->in.service), "%s", routed(w));
    if (w->cut_ns != 0 && !s->before) {
        watch_note(w, at_ns, "a new replica of %s answers from %s", s->in.service, s->in.node);
    }
}

static void take_tick(struct demo_watch *w, const struct sk_node *e)
{
    struct watch_live live = {
        .t_ms = sk_map_num(e, "t_ms", 0),
        .per_second = sk_map_num(e, "per_second", 0),
        .failed_per_second = sk_map_num(e, "failed_per_second", 0),
        .p50_ms = sk_map_num(e, "p50_ms", 0),
        .p95_ms = sk_map_num(e, "p95_ms", 0),
        .issued = sk_map_int(e, "issued", 0),
        .failed = sk_map_int(e, "failed", 0),
        .in_flight = sk_map_int(e, "in_flight", 0),
    };
    const struct sk_node *sites = sk_map_get(e, SK_STR("sites"));
    for (uint32_t i = 0; sites != NULL && sites->kind == SK_MAP && i < sites->count; i++) {
        const struct sk_member *m = &sites->u.members[i];
        if (live.nsites < DEMO_SITES_MAX) {
            (void)snprintf(live.sites[live.nsites].site, DEMO_NAME_MAX, "%.*s", SK_PRI(m->key));
            live.sites[live.nsites++].per_second = sk_map_num(sites, m->key.ptr, 0);
        }
    }
    w->live = live;
}

static void take_summary(struct demo_watch *w, const struct sk_node *e)
{
    w->sum = (struct watch_sum){
        .known = true,
        .requests = sk_map_int(e, "requests", 0),
        .failed = sk_map_int(e, "failed", 0),
        .failed_after_cut = sk_map_int(e, "failed_after_cut", 0),
        .generator_errors = sk_map_int(e, "generator_errors", 0),
        .traffic_off_ms = sk_map_num(e, "traffic_off_ms", 0),
        .longest_gap_ms = sk_map_num(e, "longest_gap_ms", 0),
        .p50_ms = sk_map_num(e, "p50_ms", 0),
        .p95_ms = sk_map_num(e, "p95_ms", 0),
        .p99_ms = sk_map_num(e, "p99_ms", 0),
    };
    const struct sk_node *list = sk_map_seq(e, "instances");
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        char id[LOAD_NAME_MAX];
        take_text(&list->u.items[i], "instance", id, sizeof(id));
        struct watch_seen *s = seen_of(w, id);
        if (s != NULL) {
            s->last_answer_ns = (uint64_t)sk_map_int(&list->u.items[i], "last_ns", 0);
        }
    }
}

static bool take_line(struct demo_watch *w, struct sk_str line)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *e = NULL;
    bool tick = false;
    if (sk_json_read(arena, "users", line, NULL, &e, NULL) == 0) {
        struct sk_str event = sk_map_str(e, "event", SK_STR(""));
        tick = sk_str_is(event, "tick");
        if (tick) {
            take_tick(w, e);
        } else if (sk_str_is(event, "instance")) {
            take_answer(w, e, (uint64_t)sk_map_int(e, "at_ns", 0));
        } else if (sk_str_is(event, "summary")) {
            take_summary(w, e);
        }
    }
    sk_arena_free(arena);
    return tick;
}

bool watch_read(struct demo_watch *w)
{
    char chunk[16384];
    bool tick = false;
    while (w->fd >= 0 && w->text.len < TEXT_BYTES_MAX) {
        ssize_t n = read(w->fd, chunk, sizeof(chunk));
        if (n < 0) {
            break; /* nothing more for now */
        }
        if (n == 0) {
            (void)close(w->fd);
            w->fd = -1;
            break;
        }
        sk_buf_add(&w->text, chunk, (size_t)n);
    }
    const char *end;
    while (w->text.len > 0 && (end = memchr(w->text.ptr, '\n', w->text.len)) != NULL) {
        size_t len = (size_t)(end - w->text.ptr);
        tick = take_line(w, (struct sk_str){w->text.ptr, len}) || tick;
        sk_buf_consume(&w->text, len + 1);
    }
    return tick;
}

/* ---- what /proc says ---- */

static bool is_lost_site(const struct demo_watch *w, const char *site)
{
    return strcmp(site, w->site) == 0;
}

static void ask(struct demo_watch *w, struct watch_seen *s)
{
    char answer[2048];
    const char *netns = demo_users_netns(w->cluster, w->cluster->world.shop->users[0].name);
    if (s->in.host[0] != '\0' && s->in.port != 0 &&
        demo_http(netns, s->in.host, s->in.port, "skerry.internal", ASK_MS, answer,
                  sizeof(answer)) &&
        strncmp(answer + 8, " 200", 4) == 0 && strstr(answer, s->in.id) != NULL) {
        s->first_answer_ns = watch_now_ns();
        watch_note(w, s->first_answer_ns, "a new replica of %s answers from %s", s->in.service,
                   s->in.node);
    }
}

/* The k-th new answer of each service that lost k replicas; the latest of them. 0 = not yet. */
static uint64_t replaced_at(const struct demo_watch *w)
{
    uint64_t latest = 0;
    for (size_t v = 0; v < w->cluster->world.shop->nservices; v++) {
        const char *service = w->cluster->world.shop->services[v].name.ptr;
        uint64_t answers[DEMO_INSTANCES_MAX];
        size_t lost = 0;
        size_t n = 0;
        for (size_t i = 0; i < w->nseen; i++) {
            const struct watch_seen *s = &w->seen[i];
            if (strcmp(s->in.service, service) != 0) {
                continue;
            }
            lost += s->before && is_lost_site(w, s->in.site);
            if (!s->before && !is_lost_site(w, s->in.site) && s->first_answer_ns != 0) {
                size_t at = n++;
                while (at > 0 && answers[at - 1] > s->first_answer_ns) {
                    answers[at] = answers[at - 1];
                    at--;
                }
                answers[at] = s->first_answer_ns;
            }
        }
        if (n < lost) {
            return 0;
        }
        if (lost > 0 && answers[lost - 1] > latest) {
            latest = answers[lost - 1];
        }
    }
    return latest;
}

void watch_look(struct demo_watch *w)
{
    demo_scan(&w->cluster->world, w->scan);
    for (size_t i = 0; i < w->nseen; i++) {
        w->seen[i].present = false;
    }
    for (size_t i = 0; i < w->scan->ninstances; i++) {
        const struct demo_instance *in = &w->scan->instances[i];
        struct watch_seen *s = seen_of(w, in->id);
        if (s != NULL) {
            s->in = *in;
            s->present = true;
        }
        bool fresh = s != NULL && w->cut_ns != 0 && !s->before && !is_lost_site(w, in->site) &&
                     in->start_ns + 10000000ULL >= w->cut_ns; /* start times are to 10 ms */
        if (fresh && (w->detected_ns == 0 || in->start_ns < w->detected_ns)) {
            if (w->detected_ns == 0) {
                watch_note(w, in->start_ns, "the loss is detected: %s starts on %s", in->service,
                           in->node);
            }
            w->detected_ns = in->start_ns;
        }
    }
    for (size_t i = 0; w->cut_ns != 0 && i < w->nseen; i++) {
        struct watch_seen *s = &w->seen[i];
        if (s->present && !s->before && s->first_answer_ns == 0 && !is_lost_site(w, s->in.site) &&
            !has_route(w, s->in.service)) {
            ask(w, s);
        }
    }
    if (w->cut_ns != 0 && w->replaced_ns == 0) {
        w->replaced_ns = replaced_at(w);
        if (w->replaced_ns != 0) {
            watch_note(w, w->replaced_ns, "everything that was lost runs elsewhere");
        }
    }
}

/* ---- the cut, and the end ---- */

static void tell_users(const struct demo_watch *w, const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/users.sock", w->cluster->dir);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        /* users that are gone are noticed by the end of their output */
        (void)sendto(fd, text, strlen(text), 0, (void *)&address, sizeof(address));
        (void)close(fd);
    }
}

void watch_cut(struct demo_watch *w, uint64_t at_ns)
{
    char text[64];
    for (size_t i = 0; i < w->nseen; i++) {
        w->seen[i].before = w->seen[i].present;
    }
    w->cut_ns = at_ns;
    (void)snprintf(text, sizeof(text), "cut %llu", (unsigned long long)at_ns);
    tell_users(w, text);
}

void watch_end(struct demo_watch *w)
{
    tell_users(w, "stop");
    uint64_t end = watch_now_ns() + END_MS * 1000000ULL;
    while (w->fd >= 0 && watch_now_ns() < end) {
        struct pollfd p = {w->fd, POLLIN, 0};
        (void)poll(&p, 1, 100);
        (void)watch_read(w);
    }
    watch_look(w);
    lab_end(w->users, 1000);
    w->users = 0;
}

unsigned watch_count(const struct demo_watch *w, const char *service, const char *site)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->nseen; i++) {
        const struct watch_seen *s = &w->seen[i];
        n += s->present && strcmp(s->in.service, service) == 0 &&
             (site[0] == '\0' || strcmp(s->in.site, site) == 0);
    }
    return n;
}

void watch_outcome(const struct demo_watch *w, struct demo_outcome *ret)
{
    struct demo_outcome o = {0};
    for (size_t v = 0; v < w->cluster->world.shop->nservices; v++) {
        const char *service = w->cluster->world.shop->services[v].name.ptr;
        unsigned lost = 0;
        unsigned kept = 0;
        unsigned replaced = 0;
        for (size_t i = 0; i < w->nseen; i++) {
            const struct watch_seen *s = &w->seen[i];
            if (strcmp(s->in.service, service) != 0) {
                continue;
            }
            bool away = is_lost_site(w, s->in.site);
            /* kept: its process is still there, and users were still answered by it */
            bool served = !has_route(w, service) || s->last_answer_ns > w->cut_ns + 1000000000ULL;
            lost += s->before && away;
            kept += s->before && !away && s->present && served;
            if (!s->before && !away && s->first_answer_ns != 0) {
                replaced++;
                (void)outcome_add(o.replaced, &o.nreplaced, service, s->in.node, 1);
            }
        }
        if (lost > 0) {
            (void)outcome_add(o.kept, &o.nkept, service, "", kept);
            o.shorts += lost > replaced ? lost - replaced : 0;
        }
    }
    for (size_t i = 0; i < w->scan->nmembers; i++) {
        const struct demo_member *m = &w->scan->members[i];
        const struct demo_node *node = &w->cluster->world.nodes[m->node];
        o.control_kept = o.control_kept || (node->control && strcmp(m->name, "skerryd") == 0 &&
                                            !is_lost_site(w, node->site));
    }
    *ret = o;
}
