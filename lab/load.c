/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/load.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/prng.h"
#include "lab/load_conn.h"

#define ISSUES_A_PASS 256 /* bounded work between two looks at the sockets */
#define EVENTS_A_PASS 256

struct load_request {
    struct load_request *prev, *next; /* in the order of issue */
    uint64_t number, due_ns, next_try_ns;
    size_t population;
    unsigned tried; /* ingresses tried so far */
    unsigned last;  /* the one tried last */
    struct load_try *tries[LOAD_INGRESS_MAX + 1];
    size_t ntries;
};

struct generator {
    const struct load_options *options;
    struct load_conns conns;
    struct load_stats *stats;
    struct sk_prng prng;
    FILE *live, *csv;
    int timer, signals, control;
    struct load_request *first, *last; /* not answered yet */
    uint64_t start_ns, next_tick_ns, issued;
    bool stopping; /* nothing more is issued */
    struct sk_buf line;
};

static const uint64_t ms_ns = 1000000;

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* ---- telling ---- */

static struct sk_jw begin_event(struct generator *g, const char *event, uint64_t at_ns)
{
    struct sk_jw w;
    sk_buf_clear(&g->line);
    sk_jw_init(&w, &g->line);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "event", event);
    sk_jw_kint(&w, "at_ns", (int64_t)at_ns);
    return w;
}

static void end_event(struct generator *g, struct sk_jw *w)
{
    sk_jw_obj_end(w);
    sk_buf_addc(&g->line, '\n');
    /* a viewer that went away is no reason to stop measuring: the summary and CSV remain */
    (void)fwrite(g->line.ptr, 1, g->line.len, g->live);
    (void)fflush(g->live);
}

static void tell_tick(struct generator *g, uint64_t at_ns)
{
    struct sk_jw w = begin_event(g, "tick", at_ns);
    size_t waiting = 0;
    for (const struct load_request *r = g->first; r != NULL; r = r->next) {
        waiting++;
    }
    sk_jw_knum(&w, "t_ms", (double)((at_ns - g->start_ns) / ms_ns));
    sk_jw_kint(&w, "in_flight", (int64_t)waiting);
    load_stats_live(g->stats, LOAD_TICK_MS / 1000.0, &w);
    end_event(g, &w);
    load_stats_turn(g->stats);
}

static void tell_instance(struct generator *g)
{
    const struct load_who *who = &g->stats->who[g->stats->nwho - 1];
    struct sk_jw w = begin_event(g, "instance", who->first_ns);
    sk_jw_kcstr(&w, "instance", who->instance);
    sk_jw_kcstr(&w, "node", who->node);
    sk_jw_kcstr(&w, "site", who->site);
    end_event(g, &w);
}

static void mark_cut(struct generator *g, uint64_t at_ns)
{
    load_stats_cut(g->stats, at_ns);
    struct sk_jw w = begin_event(g, "cut", at_ns);
    end_event(g, &w);
}

/* ---- requests ---- */

static size_t pick_population(struct generator *g)
{
    const struct load_options *o = g->options;
    double total = 0;
    for (size_t i = 0; i < o->npopulations; i++) {
        total += o->populations[i].share;
    }
    double at = sk_prng_unit(&g->prng) * total;
    size_t i = 0;
    while (i + 1 < o->npopulations && at >= o->populations[i].share) {
        at -= o->populations[i].share;
        i++;
    }
    return i;
}

static void unlink_request(struct generator *g, struct load_request *r)
{
    *(r->prev != NULL ? &r->prev->next : &g->first) = r->next;
    *(r->next != NULL ? &r->next->prev : &g->last) = r->prev;
}

static void finish(struct generator *g, struct load_request *r, enum load_outcome outcome,
                   const struct load_try *by)
{
    static const char *const names[] = {"ok", "error", "status", "timeout"};
    const struct load_population *p = &g->options->populations[r->population];
    struct load_record record = {
        .number = r->number,
        .issued_ns = r->due_ns,
        .done_ns = now_ns(),
        .outcome = outcome,
        .status = by != NULL ? by->answer.status : 0,
        .attempts = r->tried,
        .population = p->name,
        .ingress = p->ingress[by != NULL ? by->ingress : r->last].site,
        .instance = by != NULL ? by->answer.instance : "",
        .node = by != NULL ? by->answer.node : "",
        .site = by != NULL ? by->answer.site : "",
    };
    if (load_stats_done(g->stats, &record)) {
        tell_instance(g);
    }
    if (g->csv != NULL) {
        (void)fprintf(g->csv, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s,%d,%s,%s,%u,%s,%s,%s\n",
                      record.number, record.issued_ns, record.done_ns, names[outcome],
                      record.status, record.population, record.ingress, record.attempts,
                      record.instance, record.node, record.site);
    }
    for (size_t i = 0; i < r->ntries; i++) {
        load_try_end(&g->conns, r->tries[i], r->population);
    }
    unlink_request(g, r);
    free(r);
}

static void drop_try(struct generator *g, struct load_request *r, struct load_try *t)
{
    size_t i = 0;
    while (r->tries[i] != t) {
        i++;
    }
    r->tries[i] = r->tries[--r->ntries];
    load_try_end(&g->conns, t, r->population);
}

/* Tries the next ingress; false when all were tried. */
static bool try_next(struct generator *g, struct load_request *r)
{
    const struct load_population *p = &g->options->populations[r->population];
    if (r->tried >= p->ningress) {
        r->next_try_ns = UINT64_MAX;
        return false;
    }
    r->last = r->tried++;
    uint64_t now = now_ns();
    r->next_try_ns = (now > r->due_ns ? now : r->due_ns) + (uint64_t)g->options->next_ms * ms_ns;
    struct load_try *t =
        load_try_start(&g->conns, r->population, r->last, g->options->keep_alive, r);
    if (t == NULL) {
        g->stats->generator_errors++;
        return true;
    }
    r->tries[r->ntries++] = t;
    return true;
}

/* A kept connection that the server had closed meanwhile says nothing about the server. */
static bool try_afresh(struct generator *g, struct load_request *r, unsigned ingress)
{
    struct load_try *t = load_try_start(&g->conns, r->population, ingress, false, r);
    if (t == NULL) {
        g->stats->generator_errors++;
        return false;
    }
    r->tries[r->ntries++] = t;
    return true;
}

static void step(struct generator *g, struct load_try *t)
{
    struct load_request *r = t->request;
    switch (load_try_step(&g->conns, t)) {
    case LOAD_MORE:
        return;
    case LOAD_WHOLE:
        finish(g, r, t->answer.status < 500 ? LOAD_OK : LOAD_STATUS, t);
        return;
    case LOAD_BROKEN:
        break;
    }
    bool stale = t->reused && t->answer.status == 0 && t->answer.head.len == 0;
    unsigned ingress = t->ingress;
    drop_try(g, r, t);
    if (stale && try_afresh(g, r, ingress)) {
        return;
    }
    if (!try_next(g, r) && r->ntries == 0) {
        finish(g, r, LOAD_ERROR, NULL);
    }
}

static uint64_t due_at(const struct generator *g, uint64_t number)
{
    return g->start_ns + (uint64_t)((double)number * 1e9 / g->options->rate);
}

static bool more_to_issue(const struct generator *g)
{
    double total = g->options->seconds * g->options->rate;
    return !g->stopping && (g->options->seconds == 0 || (double)g->issued < total);
}

static void issue_due(struct generator *g, uint64_t now)
{
    for (int i = 0; i < ISSUES_A_PASS && more_to_issue(g) && due_at(g, g->issued) <= now; i++) {
        struct load_request *r = sk_xcalloc(1, sizeof(*r));
        r->number = g->issued;
        r->due_ns = due_at(g, g->issued++);
        r->population = pick_population(g);
        r->prev = g->last;
        *(g->last != NULL ? &g->last->next : &g->first) = r;
        g->last = r;
        load_stats_issue(g->stats);
        (void)try_next(g, r); /* every population has an ingress */
    }
}

static void pass_deadlines(struct generator *g, uint64_t now)
{
    uint64_t timeout = (uint64_t)g->options->timeout_ms * ms_ns;
    struct load_request *next;
    for (struct load_request *r = g->first; r != NULL; r = next) {
        next = r->next;
        if (now >= r->due_ns + timeout) {
            finish(g, r, LOAD_TIMEOUT, NULL);
        } else if (now >= r->next_try_ns) {
            (void)try_next(g, r); /* none left: the tries under way may still answer */
        }
    }
}

static void set_timer(struct generator *g)
{
    uint64_t at = g->next_tick_ns;
    uint64_t timeout = (uint64_t)g->options->timeout_ms * ms_ns;
    if (more_to_issue(g) && due_at(g, g->issued) < at) {
        at = due_at(g, g->issued);
    }
    for (const struct load_request *r = g->first; r != NULL; r = r->next) {
        uint64_t end = r->due_ns + timeout;
        end = r->next_try_ns < end ? r->next_try_ns : end;
        at = end < at ? end : at;
    }
    struct itimerspec when = {
        .it_value = {(time_t)(at / 1000000000ULL), (long)(at % 1000000000ULL)}};
    (void)timerfd_settime(g->timer, TFD_TIMER_ABSTIME, &when, NULL); /* a valid time: cannot fail */
}

/* ---- orders from outside ---- */

static void take_signal(struct generator *g)
{
    struct signalfd_siginfo info;
    while (read(g->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            mark_cut(g, now_ns());
        } else {
            g->stopping = true;
        }
    }
}

static void take_control(struct generator *g)
{
    char text[64];
    ssize_t n;
    while ((n = recv(g->control, text, sizeof(text) - 1, 0)) >= 0) {
        text[n] = '\0';
        uint64_t at = 0;
        if (strncmp(text, "stop", 4) == 0) {
            g->stopping = true;
        } else if (sscanf(text, "cut %20" SCNu64, &at) == 1) {
            mark_cut(g, at);
        } else if (strncmp(text, "cut", 3) == 0) {
            mark_cut(g, now_ns());
        }
    }
}

static int open_control(const char *path, int *ret_fd, struct sk_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        return sk_err_set(err, SK_ERR_USAGE, "socket path '%s' is too long", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)unlink(path); /* left by a killed generator */
    if (fd < 0 || bind(fd, (void *)&address, sizeof(address)) < 0) {
        int code = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return sk_err_errno(err, code, "bind '%s'", path);
    }
    *ret_fd = fd;
    return 0;
}

static int watch(struct generator *g, int *fd, struct sk_err *err)
{
    /* told apart from tries by pointing into the generator itself */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    if (epoll_ctl(g->conns.epoll, EPOLL_CTL_ADD, *fd, &event) < 0) {
        return sk_err_errno(err, errno, "watch a descriptor");
    }
    return 0;
}

static int open_all(struct generator *g, struct sk_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* valid arguments: cannot fail */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* then generator_errors would say so */
    }
    g->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    g->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (g->timer < 0 || g->signals < 0) {
        return sk_err_errno(err, errno, "make a timer");
    }
    int ret = watch(g, &g->timer, err);
    if (ret == 0) {
        ret = watch(g, &g->signals, err);
    }
    if (ret == 0 && g->options->control != NULL) {
        ret = open_control(g->options->control, &g->control, err);
        if (ret == 0) {
            ret = watch(g, &g->control, err);
        }
    }
    if (ret == 0 && g->options->csv != NULL) {
        g->csv = fopen(g->options->csv, "we");
        if (g->csv == NULL) {
            return sk_err_errno(err, errno, "open '%s'", g->options->csv);
        }
        (void)fprintf(g->csv, "number,issued_ns,done_ns,outcome,status,population,ingress,attempts,"
                              "instance,node,site\n");
    }
    return ret;
}

static void take_event(struct generator *g, void *data)
{
    if (data == &g->timer) {
        uint64_t count;
        (void)!read(g->timer, &count, sizeof(count)); /* only to quiet it */
    } else if (data == &g->signals) {
        take_signal(g);
    } else if (data == &g->control) {
        take_control(g);
    } else {
        struct load_try *t = data;
        if (!t->dead) {
            step(g, t);
        }
    }
}

static int run(struct generator *g, struct sk_err *err)
{
    struct epoll_event events[EVENTS_A_PASS];
    g->start_ns = now_ns();
    g->next_tick_ns = g->start_ns + LOAD_TICK_MS * ms_ns;
    load_stats_start(g->stats, g->start_ns);
    while (more_to_issue(g) || g->first != NULL) {
        uint64_t now = now_ns();
        issue_due(g, now);
        pass_deadlines(g, now);
        load_tries_bury(&g->conns);
        if (now >= g->next_tick_ns) {
            tell_tick(g, now);
            g->next_tick_ns += LOAD_TICK_MS * ms_ns;
        }
        set_timer(g);
        int n = epoll_wait(g->conns.epoll, events, EVENTS_A_PASS, -1);
        if (n < 0 && errno != EINTR) {
            return sk_err_errno(err, errno, "wait for answers");
        }
        for (int i = 0; i < n; i++) {
            take_event(g, events[i].data.ptr);
        }
    }
    /* after the last request was due no answer is missing */
    uint64_t end = due_at(g, g->issued);
    load_stats_end(g->stats, end < now_ns() ? end : now_ns());
    return 0;
}

int load_run(const struct load_options *options, FILE *live, struct load_stats *ret_stats,
             struct sk_err *err)
{
    struct generator g = {.options = options,
                          .stats = ret_stats,
                          .live = live,
                          .timer = -1,
                          .signals = -1,
                          .control = -1};
    sk_prng_seed(&g.prng, options->seed);
    int ret = load_conns_init(&g.conns, options, err);
    if (ret < 0) {
        return ret;
    }
    ret = open_all(&g, err);
    if (ret == 0) {
        ret = run(&g, err);
    }
    if (ret == 0) {
        struct sk_jw w = begin_event(&g, "summary", now_ns());
        load_stats_summary(g.stats, &w);
        end_event(&g, &w);
    }
    while (g.first != NULL) {
        struct load_request *r = g.first;
        for (size_t i = 0; i < r->ntries; i++) {
            load_try_end(&g.conns, r->tries[i], r->population);
        }
        unlink_request(&g, r);
        free(r);
    }
    if (g.csv != NULL && fclose(g.csv) != 0 && ret == 0) {
        ret = sk_err_errno(err, errno, "write '%s'", options->csv);
    }
    load_conns_release(&g.conns);
    int fds[] = {g.timer, g.signals, g.control};
    for (size_t i = 0; i < SK_ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    if (options->control != NULL && g.control >= 0) {
        (void)unlink(options->control);
    }
    sk_buf_release(&g.line);
    return ret;
}
