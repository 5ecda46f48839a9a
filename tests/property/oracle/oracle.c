/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The planner against brute force on tiny random worlds:
 *
 *   it says ok          the verifier has no finding, and neither has the brute-force check
 *   it says impossible  the oracle finds no placement at all
 *   it says not found   counted where the oracle finds one; at most 1 % of the feasible worlds
 *
 * and what it prints with a refusal is checked like every plan. A disagreement is made as small as
 * possible and printed with its seed, as two files.
 *
 *     test-property-oracle [--cases N] [--seed FIRST]
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/units.h"
#include "plan/planner.h"
#include "plan/verify/verify.h"
#include "tiny_plan.h"

#define STEPS_MAX 3000000
#define SHOWN_MAX 3

enum opinion {
    AGREE,
    MISSED,           /* not found, and there is one */
    PLANNER_FAILED,   /* plan_make() itself */
    VERIFIER_REFUSES, /* the plan breaks a rule or states what is not so */
    BRUTE_REFUSES,
    FALSE_OK,
    FALSE_IMPOSSIBLE,
};

static const char *const opinions[] = {
    "agree",
    "not found, and the oracle finds one",
    "the planner failed",
    "the verifier has findings",
    "an ok plan, and brute force finds it wrong",
    "an ok plan, and the oracle finds none",
    "impossible, and the oracle finds a placement",
};

struct outcome {
    enum opinion opinion;
    enum plan_verdict verdict;
    bool decided, feasible;
    char text[512]; /* the first finding, or what else is wrong */
};

static enum opinion verified(const struct tiny_world *w, const struct plan *plan, char text[512])
{
    struct verify_input in = {
        .inv = &w->inv, .projects = w->projects, .nprojects = 1, .plan = plan};
    struct verify_report report = {0};
    struct sk_err err = {0};
    enum opinion opinion = AGREE;

    if (verify_plan(&in, &report, &err) < 0) {
        (void)snprintf(text, 512, "%s", err.msg);
        opinion = VERIFIER_REFUSES;
    } else if (report.nfindings > 0) {
        (void)snprintf(text, 512, "%.*s: %.*s", SK_PRI(report.findings[0].rule),
                       SK_PRI(report.findings[0].text));
        opinion = VERIFIER_REFUSES;
    }
    verify_report_release(&report);
    return opinion;
}

static enum opinion judge(const struct tiny *t, const struct tiny_world *w, const struct plan *plan,
                          struct outcome *out)
{
    const char *brute = plan->verdict == PLAN_OK ? tiny_check(t, plan) : NULL;
    struct tiny_answer answer;

    if (verified(w, plan, out->text) != AGREE) {
        return VERIFIER_REFUSES;
    }
    if (brute) {
        (void)snprintf(out->text, sizeof(out->text), "%s", brute);
        return BRUTE_REFUSES;
    }
    tiny_solve(t, STEPS_MAX, &answer);
    out->decided = answer.decided || plan->verdict == PLAN_OK;
    out->feasible = answer.feasible || (!answer.decided && plan->verdict == PLAN_OK);
    if (!answer.decided) {
        return AGREE;
    }
    switch (plan->verdict) {
    case PLAN_OK:
        return answer.feasible ? AGREE : FALSE_OK;
    case PLAN_IMPOSSIBLE:
        return answer.feasible ? FALSE_IMPOSSIBLE : AGREE;
    case PLAN_NOT_FOUND:
        return answer.feasible ? MISSED : AGREE;
    }
    return AGREE;
}

static void print_case(const struct tiny *t)
{
    struct sk_buf inv = SK_BUF_INIT, project = SK_BUF_INIT;

    tiny_write_inventory(t, &inv);
    tiny_write_project(t, &project);
    printf("--- inv.yaml\n%s--- compose.yaml\n%s---\n", inv.ptr, project.ptr);
    sk_buf_release(&inv);
    sk_buf_release(&project);
}

static const struct tiny *looked_at; /* for the handler below */

/* An assertion of the planner: say where before the process ends. */
static void aborted(int signal)
{
    (void)signal;
    printf("# seed %llu: the planner aborted\n", (unsigned long long)looked_at->seed);
    print_case(looked_at);
    (void)fflush(stdout);
    _exit(1);
}

static void print_plan(const struct plan *plan)
{
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &text);
    plan_write_json(plan, &w);
    printf("%s\n---\n", text.ptr);
    sk_buf_release(&text);
}

/* Plans, verifies and solves one case; prints the plan on demand. */
static void look(const struct tiny *t, struct outcome *out, bool print)
{
    struct sk_arena *arena = sk_arena_new();
    struct tiny_world w;
    struct plan_input in;
    struct plan *plan = NULL;
    struct sk_err err = {0};

    *out = (struct outcome){.opinion = AGREE};
    looked_at = t;
    tiny_world(t, &w, arena);
    plan_input_init(&in);
    in.inv = &w.inv;
    in.projects = w.projects;
    in.nprojects = 1;
    in.pairs = t->seed % 8 == 0;
    if (plan_make(&in, &plan, &err) < 0) {
        out->opinion = PLANNER_FAILED;
        (void)snprintf(out->text, sizeof(out->text), "%s", err.msg);
    } else {
        out->verdict = plan->verdict;
        out->opinion = judge(t, &w, plan, out);
        if (print) {
            print_plan(plan);
        }
    }
    plan_free(plan);
    sk_arena_free(arena);
}

/* The same disagreement: of the same kind, under the same rule. */
static bool still(const struct tiny *t, const struct outcome *first)
{
    size_t rule = strcspn(first->text, ":");
    struct outcome out;

    look(t, &out, false);
    return out.opinion == first->opinion && strncmp(out.text, first->text, rule) == 0;
}

static void drop_service(struct tiny *t, int i)
{
    t->nservices--;
    memmove(&t->services[i], &t->services[i + 1],
            (size_t)(t->nservices - i) * sizeof(t->services[0]));
}

static void drop_node(struct tiny *t, int i)
{
    t->nnodes--;
    memmove(&t->nodes[i], &t->nodes[i + 1], (size_t)(t->nnodes - i) * sizeof(t->nodes[0]));
}

static void drop_last_site(struct tiny *t)
{
    t->nsites--;
    for (int n = t->nnodes - 1; n >= 0; n--) {
        if (t->nodes[n].site == t->nsites) {
            drop_node(t, n);
        }
    }
}

/* The `kind`-th way to make service i simpler. */
static bool simplify(struct tiny_service *s, int kind)
{
    struct tiny_service was = *s;

    switch (kind) {
    case 0:
        s->replicas -= s->replicas > 0 && s->keep < s->replicas;
        break;
    case 1:
        s->latency = false;
        s->ms = s->after = -1;
        break;
    case 2:
        s->cost = -1;
        break;
    case 3:
        s->gb = 0;
        break;
    case 4:
        s->rps = s->per_replica = 0;
        break;
    case 5:
        s->residency = 0;
        break;
    case 6:
        s->constraint = FREE;
        break;
    case 7:
        s->keep = -1;
        break;
    case 8:
        s->nodes = -1;
        break;
    case 9:
        s->sites = -1;
        break;
    case 10:
        s->disk = 0;
        break;
    case 11:
        s->after = s->ms >= 0 ? -1 : s->after;
        break;
    default:
        return false;
    }
    return memcmp(&was, s, sizeof(was)) != 0;
}

/* One step smaller with the same disagreement, or false. */
static bool shrink_once(struct tiny *t, const struct outcome *first)
{
    struct tiny less;

    for (int i = 0; i < t->nservices && t->nservices > 1; i++) {
        less = *t;
        drop_service(&less, i);
        if (still(&less, first)) {
            *t = less;
            return true;
        }
    }
    for (int i = 0; i < t->nnodes && t->nnodes > 1; i++) {
        less = *t;
        drop_node(&less, i);
        if (still(&less, first)) {
            *t = less;
            return true;
        }
    }
    less = *t;
    less.bucket.present = false;
    if (t->nsites > 1 && t->bucket.present && still(&less, first)) {
        *t = less;
        return true;
    }
    less = *t;
    if (t->nsites > 1) {
        drop_last_site(&less);
        if (less.nnodes > 0 && still(&less, first)) {
            *t = less;
            return true;
        }
    }
    for (int i = 0; i < t->nservices; i++) {
        for (int kind = 0; kind < 12; kind++) {
            less = *t;
            if (simplify(&less.services[i], kind) && still(&less, first)) {
                *t = less;
                return true;
            }
        }
    }
    return false;
}

static void show(const struct tiny *from, const struct outcome *first)
{
    struct tiny t = *from;
    struct outcome out;

    while (shrink_once(&t, first)) {
    }
    look(&t, &out, true);
    printf("# seed %llu: %s (%s)\n# smallest: %s\n", (unsigned long long)t.seed,
           opinions[first->opinion], first->text, out.text);
    print_case(&t);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    int64_t cases = 10000, seed = 1;
    long verdicts[3] = {0}, counts[FALSE_IMPOSSIBLE + 1] = {0};
    long feasible = 0, undecided = 0, wrong = 0;
    bool good;

    for (int i = 1; i + 1 < argc; i += 2) {
        int64_t *out = strcmp(argv[i], "--cases") == 0 ? &cases : &seed;

        if (sk_parse_int(sk_str(argv[i + 1]), 0, INT64_MAX, out, NULL) < 0) {
            return 2;
        }
    }
    (void)signal(SIGABRT, aborted);
    printf("# seeds from %lld\n", (long long)seed);
    for (int64_t n = 0; n < cases; n++) {
        struct tiny t;
        struct outcome out;

        tiny_make(&t, (uint64_t)(seed + n));
        look(&t, &out, false);
        verdicts[out.verdict]++;
        counts[out.opinion]++;
        feasible += out.feasible;
        undecided += !out.decided && out.opinion == AGREE;
        wrong += out.opinion > MISSED;
        if (out.opinion > MISSED && counts[out.opinion] <= SHOWN_MAX) {
            show(&t, &out);
        }
    }
    printf("# %lld worlds: %ld ok, %ld impossible, %ld not found; %ld feasible, %ld undecided\n",
           (long long)cases, verdicts[PLAN_OK], verdicts[PLAN_IMPOSSIBLE], verdicts[PLAN_NOT_FOUND],
           feasible, undecided);
    for (int i = MISSED; i <= FALSE_IMPOSSIBLE; i++) {
        printf("# %ld: %s\n", counts[i], opinions[i]);
    }
    good = wrong == 0 && counts[MISSED] * 100 <= feasible && undecided * 100 <= cases;
    printf("%sok 1 - planner, verifier and brute force agree\n1..1\n", good ? "" : "not ");
    return good ? 0 : 1;
}
