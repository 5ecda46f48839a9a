/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "sim/plant.h"
#include "sim/sim.h"

/*
 * skerry-sim: one seed, told or hashed, or many. Only this file knows the machine: a seed of many
 * runs in a process of its own, so that one that crashes is one that failed.
 */
static const char usage[] =
    "usage: skerry-sim --seed N [--minutes M] [--weather K] [--trace] [--twice]\n"
    "       skerry-sim --seeds A..B [--minutes M] [--weather K] [--json] [--jobs N] [--all]\n"
    "  --minutes M   simulated minutes before everything heals (10)\n"
    "  --weather K   nothing else happens; K: calm; rain: 5 % loss, 200 ms of jitter; links, "
    "sites:\n"
    "                the same, and blackouts of 1.5 s of links or whole sites. Nobody may be "
    "judged\n"
    "                lost, nothing may move\n"
    "  --deaths      in that weather whole sites lose their power: tells how soon control knows\n"
    "  --controls N  one or three control nodes (as the seed chooses)\n"
    "  --trace       tells the story of the seed\n"
    "  --twice       runs the seed twice and fails unless both end in the same line\n"
    "  --seeds A..B  runs all of them, --jobs at a time (2); ends at the first that fails unless "
    "--all\n"
    "  --json        one JSON object a seed, and one for them all\n"
#ifdef SIM_PLANT
    "  --plant NAME  with a planted bug; 'list' names them with the invariant that must find each\n"
    "  --find RULE   succeeds as soon as a seed breaks RULE, and only then\n"
#endif
    "exit status: 0 all held, 1 an invariant broke, 2 usage\n";

static const char *const trial_names[] = {
#define X(id, name) name,
    SIM_TRIALS(X)
#undef X
};

#define DEATHS_MAX 400 /* of one seed: four hours of them */

static const char *const weathers[SIM_WEATHER_COUNT] = {"none", "calm", "rain", "links", "sites"};

struct settings {
    struct sim_options sim;
    uint64_t first, last;
    bool many, json, twice, all;
    int jobs;
    const char *find;
};

struct result {
    uint64_t seed, hash, events, moves, verdicts, failovers, acks, commits;
    uint64_t controls, leaders;                       /* control nodes; lives of them that led */
    uint64_t exclusive, grants, leased, lapses, late; /* worlds; leases; leased runs; see sim.h */
    uint64_t false_sites, false_nodes, needless;
    uint64_t trials[SIM_TRIAL_COUNT]; /* of exclusive work */
    double simulated_s, real_s;
    char rule[24], text[600];
    uint32_t ndeaths, nfound;
    int32_t found_ms[DEATHS_MAX]; /* ascending; those that were found */
};

/* ---- which objects these are ---- */

static int note(struct dl_phdr_info *info, size_t size, void *ctx)
{
    char *out = ctx;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum && !out[0]; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        const char *at = (const char *)(info->dlpi_addr + p->p_vaddr);
        for (const char *end = at + p->p_memsz; p->p_type == PT_NOTE && at + 12 <= end;) {
            ElfW(Nhdr) head;
            const char *name = at + sizeof(head);
            memcpy(&head, at, sizeof(head));
            at = name + ((head.n_namesz + 3) & ~3u);
            if (head.n_type == NT_GNU_BUILD_ID && strncmp(name, "GNU", 4) == 0) {
                for (unsigned k = 0; k < head.n_descsz && k < 20; k++) {
                    (void)snprintf(out + 2 * k, 3, "%02x", (unsigned)(unsigned char)at[k]);
                }
            }
            at += (head.n_descsz + 3) & ~3u;
        }
    }
    return 1; /* the program itself comes first */
}

static const char *build_id(void)
{
    static char id[64];

    if (!id[0]) {
        (void)dl_iterate_phdr(note, id);
    }
    return id[0] ? id : "none";
}

/* ---- one seed ---- */

static double real_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    int32_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

static void take_found(const struct sim *s, struct result *ret)
{
    for (size_t i = 0; i < s->nfound; i++) {
        ret->ndeaths++;
        if (s->found[i].after_us >= 0 && ret->nfound < DEATHS_MAX) {
            ret->found_ms[ret->nfound++] = (int32_t)(s->found[i].after_us / 1000);
        }
    }
    qsort(ret->found_ms, ret->nfound, sizeof(ret->found_ms[0]), by_value);
}

static void run_seed(const struct settings *set, uint64_t seed, struct result *ret)
{
    struct sim_options o = set->sim;
    double begun = real_s();
    struct sim *s;

    o.seed = seed;
    s = sim_new(&o);
    sim_run(s);
    memset(ret, 0, sizeof(*ret));
    ret->seed = seed;
    ret->hash = s->hash;
    ret->events = s->events;
    ret->moves = s->moves;
    ret->verdicts = s->verdicts;
    ret->failovers = s->failovers;
    ret->acks = s->acks;
    ret->commits = s->commits;
    ret->controls = s->ncontrols;
    ret->leaders = s->leaders;
    ret->exclusive = s->exclusive;
    ret->grants = s->grants;
    ret->leased = s->writers;
    ret->lapses = s->lapses;
    ret->late = s->late_writes;
    ret->simulated_s = (double)s->now_us / 1e6;
    ret->real_s = real_s() - begun;
    ret->false_sites = s->false_sites;
    ret->false_nodes = s->false_nodes;
    ret->needless = s->needless;
    memcpy(ret->trials, s->trials, sizeof(ret->trials));
    take_found(s, ret);
    (void)snprintf(ret->rule, sizeof(ret->rule), "%s", s->rule);
    (void)snprintf(ret->text, sizeof(ret->text), "%s", s->broken);
    sim_free(s);
}

/* Nothing in it varies from run to run. */
static void last_line(const struct result *r, char *out, size_t size)
{
    (void)snprintf(out, size, "seed=%" PRIu64 " verdict=%s simulated=%.6fs hash=%016" PRIx64,
                   r->seed, r->rule[0] ? r->rule : "ok", r->simulated_s, r->hash);
}

static int one(const struct settings *set)
{
    struct result r, again;
    char line[160], second[160];

    (void)printf("skerry-sim " SKERRY_VERSION " build %s\n", build_id());
    run_seed(set, set->first, &r);
    last_line(&r, line, sizeof(line));
    if (set->twice) {
        run_seed(set, set->first, &again);
        last_line(&again, second, sizeof(second));
        if (strcmp(line, second) != 0) {
            (void)printf("the same seed ends in two ways:\n%s\n%s\n", line, second);
            return 1;
        }
    }
    (void)printf("%" PRIu64 " events, %" PRIu64 " commits, %" PRIu64
                 " applies acknowledged, %" PRIu64 " verdicts, %" PRIu64
                 " moves; %.1f s in %.2f s\n",
                 r.events, r.commits, r.acks, r.verdicts, r.moves, r.simulated_s, r.real_s);
    if (r.rule[0]) {
        (void)printf("broken: %s\nby the trace: skerry-sim --seed %" PRIu64
                     " --minutes %g%s%s%s%s --trace\n",
                     r.text, r.seed, set->sim.minutes, set->sim.weather ? " --weather " : "",
                     set->sim.weather ? weathers[set->sim.weather] : "",
                     set->sim.deaths ? " --deaths" : "",
                     set->sim.controls == 0   ? ""
                     : set->sim.controls == 1 ? " --controls 1"
                                              : " --controls 3");
    }
    (void)printf("%s\n", line);
    return r.rule[0] ? 1 : 0;
}

/* ---- many ---- */

struct child {
    pid_t pid;
    int fd;
    uint64_t seed;
};

static void tell_weather(const struct result *r, struct sk_jw *w)
{
    sk_jw_kint(w, "false_sites", (int64_t)r->false_sites);
    sk_jw_kint(w, "false_nodes", (int64_t)r->false_nodes);
    sk_jw_kint(w, "needless_moves", (int64_t)r->needless);
    if (r->ndeaths > 0) {
        sk_jw_kint(w, "deaths", r->ndeaths);
        sk_jw_key(w, "found_ms");
        sk_jw_arr(w);
        for (uint32_t i = 0; i < r->nfound; i++) {
            sk_jw_int(w, r->found_ms[i]);
        }
        sk_jw_arr_end(w);
    }
}

static void tell(const struct settings *set, const struct result *r)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;
    char line[160];

    if (!set->json) {
        if (r->rule[0]) {
            last_line(r, line, sizeof(line));
            (void)printf("%s\n    %s\n", line, r->text);
        }
        return;
    }
    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "seed", (int64_t)r->seed);
    sk_jw_kcstr(&w, "verdict", r->rule[0] ? r->rule : "ok");
    if (r->rule[0]) {
        sk_jw_kcstr(&w, "text", r->text);
    }
    (void)snprintf(line, sizeof(line), "%016" PRIx64, r->hash);
    sk_jw_kcstr(&w, "hash", line);
    sk_jw_knum(&w, "simulated_s", r->simulated_s);
    sk_jw_kint(&w, "events", (int64_t)r->events);
    sk_jw_kint(&w, "commits", (int64_t)r->commits);
    sk_jw_kint(&w, "acknowledged", (int64_t)r->acks);
    sk_jw_kint(&w, "verdicts", (int64_t)r->verdicts);
    sk_jw_kint(&w, "moves", (int64_t)r->moves);
    sk_jw_kint(&w, "controls", (int64_t)r->controls);
    sk_jw_kint(&w, "leaders", (int64_t)r->leaders);
    if (r->exclusive) {
        sk_jw_kint(&w, "grants", (int64_t)r->grants);
        sk_jw_kint(&w, "leased_runs", (int64_t)r->leased);
        sk_jw_kint(&w, "lapses", (int64_t)r->lapses);
        sk_jw_kint(&w, "late_writes", (int64_t)r->late);
        for (int i = 0; i < SIM_TRIAL_COUNT; i++) {
            sk_jw_kint(&w, trial_names[i], (int64_t)r->trials[i]);
        }
    }
    if (set->sim.weather) {
        tell_weather(r, &w);
    }
    sk_jw_obj_end(&w);
    (void)printf("%s\n", out.ptr);
    sk_buf_release(&out);
}

static bool spawn(const struct settings *set, uint64_t seed, struct child *c)
{
    int fds[2];

    if (pipe(fds) < 0) {
        return false;
    }
    (void)fflush(stdout);
    c->seed = seed;
    c->fd = fds[0];
    c->pid = fork();
    if (c->pid == 0) {
        struct result r;
        (void)close(fds[0]);
        run_seed(set, seed, &r);
        _exit(write(fds[1], &r, sizeof(r)) == (ssize_t)sizeof(r) ? 0 : 3);
    }
    (void)close(fds[1]);
    return c->pid > 0;
}

/* One that is done: its result, or that it crashed. */
static bool reap(struct child *children, int count, struct result *ret)
{
    int status;
    pid_t pid = wait(&status);

    for (int i = 0; i < count; i++) {
        struct child *c = &children[i];
        if (c->pid != pid || pid <= 0) {
            continue;
        }
        if (read(c->fd, ret, sizeof(*ret)) != (ssize_t)sizeof(*ret)) {
            memset(ret, 0, sizeof(*ret));
            ret->seed = c->seed;
            (void)snprintf(ret->rule, sizeof(ret->rule), "crash");
            (void)snprintf(ret->text, sizeof(ret->text), "the run ended by signal %d, status %d",
                           WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                           WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        }
        (void)close(c->fd);
        c->pid = 0;
        return true;
    }
    return false;
}

static void summary(const struct settings *set, const struct result *sum, uint64_t runs,
                    uint64_t failed, double began)
{
    double took = real_s() - began;

    if (set->json) {
        (void)printf("{\"build\":\"%s\",\"seeds\":%" PRIu64 ",\"failed\":%" PRIu64
                     ",\"simulated_s\":%.1f,\"real_s\":%.1f,\"rate\":%.0f,\"events\":%" PRIu64
                     ",\"verdicts\":%" PRIu64 ",\"moves\":%" PRIu64 ",\"acknowledged\":%" PRIu64
                     ",\"exclusive\":%" PRIu64 ",\"grants\":%" PRIu64 ",\"leased_runs\":%" PRIu64
                     ",\"lapses\":%" PRIu64 ",\"late_writes\":%" PRIu64 ",\"false_sites\":%" PRIu64
                     ",\"false_nodes\":%" PRIu64 ",\"needless_moves\":%" PRIu64,
                     build_id(), runs, failed, sum->simulated_s, took, sum->simulated_s / took,
                     sum->events, sum->verdicts, sum->moves, sum->acks, sum->exclusive, sum->grants,
                     sum->leased, sum->lapses, sum->late, sum->false_sites, sum->false_nodes,
                     sum->needless);
        for (int i = 0; i < SIM_TRIAL_COUNT; i++) {
            (void)printf(",\"%s\":%" PRIu64, trial_names[i], sum->trials[i]);
        }
        (void)printf("}\n");
    } else {
        (void)printf("%" PRIu64 " seeds, %" PRIu64
                     " failed: %.0f s simulated in %.1f s, %.0f times as "
                     "fast; %" PRIu64 " events, %" PRIu64 " verdicts, %" PRIu64 " moves\n",
                     runs, failed, sum->simulated_s, took, sum->simulated_s / took, sum->events,
                     sum->verdicts, sum->moves);
        for (int i = 0; i < SIM_TRIAL_COUNT; i++) {
            (void)printf("%s%" PRIu64 " %s",
                         i > 0 ? ", " : "trials of exclusive work: ", sum->trials[i],
                         trial_names[i] + strlen("trials_"));
        }
        (void)printf("\n");
    }
}

static int many(const struct settings *set)
{
    struct child children[16] = {{0}};
    struct result r, sum = {0};
    uint64_t next = set->first, runs = 0, failed = 0;
    double began = real_s();
    bool found = false, stop = false;
    int running = 0;

    (void)fprintf(stderr, "skerry-sim " SKERRY_VERSION " build %s\n", build_id());
    while ((next <= set->last && !stop) || running > 0) {
        for (int i = 0; i < set->jobs && next <= set->last && !stop; i++) {
            if (children[i].pid == 0 && spawn(set, next, &children[i])) {
                next++;
                running++;
            }
        }
        if (running == 0 || !reap(children, set->jobs, &r)) {
            (void)fprintf(stderr, "skerry-sim: %s\n", strerror(errno));
            return 1;
        }
        running--;
        runs++;
        sum.simulated_s += r.simulated_s;
        sum.events += r.events;
        sum.verdicts += r.verdicts;
        sum.moves += r.moves;
        sum.acks += r.acks;
        sum.exclusive += r.exclusive;
        sum.grants += r.grants;
        sum.leased += r.leased;
        sum.lapses += r.lapses;
        sum.late += r.late;
        sum.false_sites += r.false_sites;
        sum.false_nodes += r.false_nodes;
        sum.needless += r.needless;
        for (int i = 0; i < SIM_TRIAL_COUNT; i++) {
            sum.trials[i] += r.trials[i];
        }
        failed += r.rule[0] != '\0';
        found = found || (set->find && strcmp(r.rule, set->find) == 0);
        stop = set->find ? found : r.rule[0] && !set->all;
        tell(set, &r);
    }
    summary(set, &sum, runs, failed, began);
    return set->find ? !found : failed > 0;
}

/* ---- the command line ---- */

static bool parse_seeds(const char *text, struct settings *set)
{
    char *end;

    set->first = strtoull(text, &end, 10);
    set->many = strncmp(end, "..", 2) == 0;
    if (!set->many) {
        return false;
    }
    text = end + 2;
    set->last = strtoull(text, &end, 10);
    return *end == '\0' && end != text && set->last >= set->first;
}

#ifdef SIM_PLANT
static int list_plants(void)
{
    const char *rule, *name;

    for (size_t i = 0; (name = plant_name(i, &rule)) != NULL; i++) {
        (void)printf("%s %s\n", name, rule);
    }
    return 0;
}
#endif

static const struct option options[] = {
    {"seed", required_argument, NULL, 's'},
    {"seeds", required_argument, NULL, 'S'},
    {"minutes", required_argument, NULL, 'm'},
    {"jobs", required_argument, NULL, 'j'},
    {"weather", required_argument, NULL, 'w'},
    {"deaths", no_argument, NULL, 'd'},
    {"controls", required_argument, NULL, 'c'},
    {"trace", no_argument, NULL, 't'},
    {"json", no_argument, NULL, 'J'},
    {"twice", no_argument, NULL, '2'},
    {"all", no_argument, NULL, 'a'},
    {"help", no_argument, NULL, 'h'},
#ifdef SIM_PLANT
    {"plant", required_argument, NULL, 'p'},
    {"find", required_argument, NULL, 'f'},
#endif
    {NULL, 0, NULL, 0},
};

/* 0, or the exit status. */
static int take(struct settings *set, int option, bool *ret_seed)
{
    char *end = NULL;

    switch (option) {
    case 's':
        set->first = strtoull(optarg, &end, 10);
        *ret_seed = *end == '\0' && end != optarg;
        return *ret_seed ? 0 : 2;
    case 'S':
        *ret_seed = true;
        return parse_seeds(optarg, set) ? 0 : 2;
    case 'm':
        set->sim.minutes = strtod(optarg, &end);
        return set->sim.minutes > 0 && set->sim.minutes <= 100000 && *end == '\0' ? 0 : 2;
    case 'j':
        set->jobs = (int)strtol(optarg, NULL, 10);
        return set->jobs >= 1 && set->jobs <= 16 ? 0 : 2;
    case 'w':
        for (int i = SIM_CALM; i < SIM_WEATHER_COUNT; i++) {
            set->sim.weather =
                strcmp(optarg, weathers[i]) == 0 ? (enum sim_weather)i : set->sim.weather;
        }
        return set->sim.weather != SIM_NO_WEATHER ? 0 : 2;
    case 'c':
        set->sim.controls = (size_t)strtoul(optarg, &end, 10);
        return (set->sim.controls == 1 || set->sim.controls == 3) && *end == '\0' ? 0 : 2;
    case 'd':
        set->sim.deaths = true;
        return 0;
    case 't':
        set->sim.story = true;
        return 0;
    case 'J':
        set->json = true;
        return 0;
    case '2':
        set->twice = true;
        return 0;
    case 'a':
        set->all = true;
        return 0;
#ifdef SIM_PLANT
    case 'p':
        set->sim.plant = optarg;
        return plant_known(optarg) || strcmp(optarg, "list") == 0 ? 0 : 2;
    case 'f':
        set->find = optarg;
        return 0;
#endif
    default:
        return 2;
    }
}

int main(int argc, char **argv)
{
    struct settings set = {.sim = {.minutes = 10}, .jobs = 2};
    bool seed = false;
    int option, status = 0;

    while (status == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(usage, stdout);
            return 0;
        }
        status = take(&set, option, &seed);
    }
#ifdef SIM_PLANT
    if (status == 0 && set.sim.plant && strcmp(set.sim.plant, "list") == 0) {
        return list_plants();
    }
#endif
    if (status != 0 || !seed || optind != argc || (set.sim.deaths && !set.sim.weather)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    return set.many ? many(&set) : one(&set);
}
