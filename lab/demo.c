/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/demo_cluster.h"
#include "lab/demo_outcome.h"
#include "lab/demo_view.h"
#include "lab/demo_watch.h"
#include "sys/file.h"

#define RATE 300.0
#define BEFORE_S 6.0
#define AFTER_S 15.0
#define CUT_TO_KILL_NS 200000000ULL
#define LOOK_NS 250000000ULL     /* at /proc, in quiet times */
#define LOOK_HARD_NS 60000000ULL /* between the cut and the end of re-placement */

struct demo {
    const struct demo_options *options;
    struct demo_cluster cluster;
    struct demo_view view;
    struct demo_watch watch;
    struct demo_outcome predicted, observed;
    const char *site;
    const char *state; /* of the lost site, for the view */
    int signals;
    bool asked_to_end;
};

static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
        /* orphans of killed servers are ours: nobody waits for their status */
    }
}

/* Waits for news of the users, at most until_ns; draws a new tick. */
static void wait_for_news(struct demo *d, uint64_t until_ns)
{
    uint64_t now = watch_now_ns();
    int ms = until_ns > now ? (int)((until_ns - now) / 1000000) + 1 : 0;
    struct pollfd fds[2] = {{d->watch.fd, POLLIN, 0}, {d->signals, POLLIN, 0}};
    (void)poll(fds, 2, ms < 250 ? ms : 250);
    if (fds[1].revents != 0) {
        struct signalfd_siginfo info;
        d->asked_to_end = read(d->signals, &info, sizeof(info)) > 0 || d->asked_to_end;
    }
    if (watch_read(&d->watch)) {
        view_tick(&d->view, &d->watch, d->state);
    }
}

/* Watches for a while. Looks at /proc the harder while something is being re-placed. */
static int watch_for(struct demo *d, double s, struct sk_err *err)
{
    uint64_t end = watch_now_ns() + (uint64_t)(s * 1e9);
    uint64_t look = 0;
    while (watch_now_ns() < end && !d->asked_to_end) {
        uint64_t now = watch_now_ns();
        if (now >= look) {
            bool hard = d->watch.cut_ns != 0 && d->watch.replaced_ns == 0;
            watch_look(&d->watch);
            reap();
            look = watch_now_ns() + (hard ? LOOK_HARD_NS : LOOK_NS);
        }
        wait_for_news(d, look < end ? look : end);
        if (d->watch.fd < 0) {
            return sk_err_set(err, SK_ERR_ENGINE, "the users ended by themselves");
        }
    }
    if (d->asked_to_end) {
        return sk_err_set(err, SK_ERR_CANCELLED, "the demo was ended by a signal");
    }
    return 0;
}

/* Links down, silently; a moment later the processes. On loopback there are no links to cut. */
static int lose_site(struct demo *d, struct sk_err *err)
{
    int sig = d->options->stop ? SIGSTOP : SIGKILL;
    watch_look(&d->watch);
    uint64_t at = watch_now_ns();
    if (d->cluster.net != NULL) {
        int r = lab_net_cut(d->cluster.net, sk_str(d->site), err);
        if (r < 0) {
            return r;
        }
        d->state = "links down";
        watch_cut(&d->watch, at);
        watch_note(&d->watch, at, "%s: links down, silently", d->site);
        while (watch_now_ns() < at + CUT_TO_KILL_NS) {
            wait_for_news(d, at + CUT_TO_KILL_NS);
        }
    } else {
        watch_cut(&d->watch, at);
    }
    uint64_t killed = watch_now_ns();
    size_t n = demo_signal(&d->cluster.world, d->site, sig);
    d->state = d->options->stop ? "stopped" : "killed";
    watch_note(&d->watch, killed, "%s: %zu processes get %s", d->site, n,
               d->options->stop ? "SIGSTOP" : "SIGKILL");
    return 0;
}

static int read_prediction(struct demo *d, struct sk_err *err)
{
    const char *const args[] = {"plan", "--json", d->cluster.compose, NULL};
    struct sk_buf text = SK_BUF_INIT;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct plan *plan = NULL;
    int r = d->options->expect != NULL ? sys_file_read(d->options->expect, 16 << 20, &text, err)
                                       : demo_skerry(&d->cluster, args, 20000, &text, err);
    r = r < 0 ? r : sk_json_read(arena, "plan", sk_buf_str(&text), NULL, &root, err);
    r = r < 0 ? r : plan_from_record("plan", root, &plan, err);
    r = r < 0 ? r : outcome_predict(plan, d->site, &d->predicted, err);
    plan_free(plan);
    sk_arena_free(arena);
    sk_buf_release(&text);
    return r;
}

/* Before anything is made. */
static int check_site(const struct demo_options *o, struct sk_err *err)
{
    struct demo_world w;
    int r = demo_world_read(o->examples, "compose.yaml", &w, err);
    if (r == 0) {
        if (o->kill != NULL && demo_world_site(&w, sk_str(o->kill)) == NULL) {
            r = sk_err_set(err, SK_ERR_USAGE, "--kill: the demo has no site '%s'", o->kill);
        }
        demo_world_release(&w);
    }
    return r;
}

static void choose_site(struct demo *d)
{
    const struct inventory *inv = d->cluster.world.inv;
    const char *name = d->options->kill != NULL ? d->options->kill : "fra";
    for (size_t i = inv->nsites; i-- > 0;) {
        d->site = demo_site_serves(&inv->sites[i]) ? inv->sites[i].name.ptr : d->site;
    }
    const struct site *site = demo_world_site(&d->cluster.world, sk_str(name));
    d->site = site != NULL ? site->name.ptr : d->site;
}

/* ---- the end ---- */

static void json_ms(struct sk_jw *w, const char *key, const struct demo_watch *watch,
                    uint64_t at_ns)
{
    if (at_ns == 0) {
        sk_jw_knull(w, key);
    } else {
        uint64_t us = at_ns > watch->cut_ns ? (at_ns - watch->cut_ns) / 1000 : 0;
        sk_jw_knum(w, key, (double)us / 1000);
    }
}

/* The largest resident size of each program, by /proc. */
static void json_memory(const struct demo *d, struct sk_jw *w)
{
    static const char *const names[] = {"skerry", "skerryd", "skerry-agent", "skerry-shim",
                                        "haproxy"};
    const struct demo_scan *scan = d->watch.scan;
    sk_jw_key(w, "rss_kb");
    sk_jw_obj(w);
    for (size_t k = 0; k <= SK_ARRAY_LEN(names); k++) {
        bool control = k == SK_ARRAY_LEN(names);
        unsigned long most = 0;
        for (size_t i = 0; i < scan->nmembers; i++) {
            const struct demo_member *m = &scan->members[i];
            bool on_control = d->cluster.world.nodes[m->node].control;
            bool match = strcmp(m->name, control ? "skerryd" : names[k]) == 0;
            if (match && on_control == control && m->rss_kb > most) {
                most = m->rss_kb;
            }
        }
        sk_jw_kint(w, control ? "skerryd_control" : names[k], (int64_t)most);
    }
    sk_jw_obj_end(w);
}

static void write_json(const struct demo *d, const struct sk_buf *differences)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    const struct inventory *inv = d->cluster.world.inv;
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "format", "skerry.demo/1");
    sk_jw_kcstr(&w, "network", d->cluster.net != NULL ? "namespaces" : "loopback");
    sk_jw_kint(&w, "seed", (int64_t)d->options->seed);
    sk_jw_key(&w, "sites");
    sk_jw_arr(&w);
    for (size_t i = 0; i < inv->nsites; i++) {
        sk_jw_str(&w, inv->sites[i].name);
    }
    sk_jw_arr_end(&w);
    sk_jw_kcstr(&w, "killed", d->site);
    sk_jw_kcstr(&w, "signal", d->options->stop ? "SIGSTOP" : "SIGKILL");
    json_ms(&w, "detected_ms", &d->watch, d->watch.detected_ns);
    sk_jw_knum(&w, "traffic_off_ms", d->watch.sum.traffic_off_ms);
    json_ms(&w, "replaced_ms", &d->watch, d->watch.replaced_ns);
    sk_jw_kint(&w, "requests", d->watch.sum.requests);
    sk_jw_kint(&w, "failed", d->watch.sum.failed);
    sk_jw_kint(&w, "failed_after_cut", d->watch.sum.failed_after_cut);
    sk_jw_kint(&w, "generator_errors", d->watch.sum.generator_errors);
    sk_jw_knum(&w, "longest_gap_ms", d->watch.sum.longest_gap_ms);
    sk_jw_knum(&w, "p50_ms", d->watch.sum.p50_ms);
    sk_jw_knum(&w, "p95_ms", d->watch.sum.p95_ms);
    sk_jw_knum(&w, "p99_ms", d->watch.sum.p99_ms);
    sk_jw_key(&w, "predicted");
    outcome_json(&d->predicted, &w);
    sk_jw_key(&w, "observed");
    outcome_json(&d->observed, &w);
    sk_jw_kbool(&w, "agrees", differences->len == 0);
    sk_jw_key(&w, "differences");
    sk_jw_arr(&w);
    struct sk_str rest = sk_buf_str(differences);
    while (rest.len > 0) {
        struct sk_str line;
        (void)sk_str_cut(rest, '\n', &line, &rest);
        sk_jw_str(&w, line);
    }
    sk_jw_arr_end(&w);
    json_memory(d, &w);
    sk_jw_obj_end(&w);
    sk_buf_addc(&out, '\n');
    (void)fwrite(out.ptr, 1, out.len, stdout);
    (void)fflush(stdout);
    sk_buf_release(&out);
}

/* Users again, until the person has had enough. */
static int stay(struct demo *d, struct sk_err *err)
{
    const char *data = demo_world_control(&d->cluster.world)->data;
    char text[1024];
    (void)snprintf(
        text, sizeof(text),
        "\nIt stays up for you to play with; Ctrl-C ends it and leaves nothing. In another "
        "terminal:\n"
        "  export SKERRY_DATA=%s\n"
        "  %s status | ps | events | why web\n",
        data, d->cluster.skerry);
    view_say(&d->view, text);
    if (d->cluster.net != NULL) {
        (void)snprintf(text, sizeof(text),
                       "  %s cut --dir %s/lab SITE\n"
                       "     (and heal; show lists the servers, exec runs a program on one)\n",
                       d->cluster.lab_program, d->cluster.dir);
        view_say(&d->view, text);
    }
    watch_release(&d->watch);
    int r = watch_start(&d->cluster, d->site, RATE, d->options->seed + 1, &d->watch, err);
    d->view.noted = 0;
    while (r == 0 && !d->asked_to_end) {
        r = watch_for(d, 3600, err);
    }
    return d->asked_to_end ? 0 : r;
}

static const char *how_text(const struct demo *d)
{
    if (d->cluster.net == NULL) {
        return d->options->stop ? "stopped" : "killed";
    }
    return d->options->stop ? "cut off and stopped" : "cut off and killed";
}

/* Without any terminal there is nobody to play with it, and nobody to press Ctrl-C. */
static bool somebody_watches(const struct demo *d)
{
    return d->view.terminal || isatty(STDIN_FILENO) == 1;
}

static int story(struct demo *d, bool *ret_agrees, struct sk_err *err)
{
    struct sk_buf differences = SK_BUF_INIT;
    choose_site(d);
    int r = read_prediction(d, err);
    r = r < 0 ? r : watch_start(&d->cluster, d->site, RATE, d->options->seed, &d->watch, err);
    if (r < 0) {
        return r;
    }
    r = watch_for(d, BEFORE_S, err);
    r = r < 0 ? r : lose_site(d, err);
    r = r < 0 ? r : watch_for(d, d->options->seconds > 0 ? d->options->seconds : AFTER_S, err);
    if (r == 0) {
        watch_end(&d->watch);
        if (!d->watch.sum.known) {
            r = sk_err_set(err, SK_ERR_ENGINE, "the users gave no summary");
        }
    }
    if (r == 0) {
        watch_outcome(&d->watch, &d->observed);
        *ret_agrees = outcome_compare(&d->predicted, &d->observed, &differences) == 0;
        view_hold(&d->view);
        view_table(&d->view, &d->watch, how_text(d), &d->predicted, &d->observed, &differences);
        if (d->options->json) {
            write_json(d, &differences);
        }
    }
    sk_buf_release(&differences);
    return r == 0 && !d->options->exit && somebody_watches(d) ? stay(d, err) : r;
}

static int open_signals(int *ret_fd, sigset_t *ret_old, struct sk_err *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, ret_old); /* valid arguments: cannot fail */
    *ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *ret_fd < 0 ? sk_err_errno(err, errno, "make a signal descriptor") : 0;
}

int demo_run(const struct demo_options *options, bool *ret_agrees, struct sk_err *err)
{
    struct demo *d = sk_xcalloc(1, sizeof(*d));
    const char *no_color = getenv("NO_COLOR");
    sigset_t old;
    int fd = options->json ? STDERR_FILENO : STDOUT_FILENO;
    d->options = options;
    d->state = "";
    d->watch.fd = -1;
    d->view.out = options->json ? stderr : stdout;
    d->view.terminal = isatty(fd) == 1;
    d->view.color = d->view.terminal && (no_color == NULL || no_color[0] == '\0');
    const struct demo_cluster_options cluster = {.skerry = options->skerry,
                                                 .lab_program = options->lab_program,
                                                 .examples = options->examples,
                                                 .say = view_say,
                                                 .ctx = &d->view};
    /* what killed servers leave behind is reaped here, and counted here */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    int r = open_signals(&d->signals, &old, err);
    r = r < 0 ? r : check_site(options, err);
    r = r < 0 ? r : demo_cluster_up(&cluster, &d->cluster, err);
    if (r == 0) {
        r = story(d, ret_agrees, err);
        watch_release(&d->watch);
        view_say(&d->view, "taking it down");
        demo_cluster_down(&d->cluster);
    }
    reap();
    if (d->signals >= 0) {
        (void)close(d->signals);
    }
    (void)sigprocmask(SIG_SETMASK, &old, NULL); /* valid arguments: cannot fail */
    free(d);
    return r;
}
