/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/verify/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

__attribute__((format(printf, 3, 0))) static void add(struct vf *v, const char *rule,
                                                      const char *fmt, va_list args)
{
    struct verify_report *report = v->report;
    char text[1024];

    if (report->nfindings >= VERIFY_FINDINGS_MAX) {
        return;
    }
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut short at its end, if ever */
    /* names come from a file: one finding stays one line whatever is in them */
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    if (report->nfindings == v->findings_cap) {
        size_t cap = v->findings_cap ? v->findings_cap * 2 : 16;
        struct verify_finding *more = SK_ARENA_ARRAY(v->arena, struct verify_finding, cap);

        if (report->nfindings > 0) {
            memcpy(more, report->findings, report->nfindings * sizeof(*more));
        }
        report->findings = more;
        v->findings_cap = cap;
    }
    report->findings[report->nfindings].rule = sk_str(rule);
    report->findings[report->nfindings].text = sk_arena_str(v->arena, sk_str(text));
    report->nfindings++;
}

void vf_find(struct vf *v, const char *rule, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(v, rule, fmt, args);
    va_end(args);
}

void vf_broken(struct vf *v, const char *rule, const char *fmt, ...)
{
    va_list args;

    v->broken = true;
    if (v->plan->verdict != PLAN_OK) {
        return;
    }
    va_start(args, fmt);
    add(v, rule, fmt, args);
    va_end(args);
}

bool vf_money_eq(double a, double b)
{
    return fabs(a - b) <= VF_TOLERANCE * fmax(fabs(a), fabs(b)) + 1e-12;
}

bool vf_maybe_money_eq(struct plan_maybe a, struct plan_maybe b)
{
    return a.known == b.known && (!a.known || vf_money_eq(a.value, b.value));
}

const char *vf_num(struct plan_maybe n, char out[VF_NUM_MAX])
{
    if (!n.known) {
        return "null";
    }
    (void)snprintf(out, VF_NUM_MAX, "%.12g", n.value);
    return out;
}

const char *vf_set(const struct sk_str *names, size_t count, char out[VF_SET_MAX])
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < count && len + 1 < VF_SET_MAX; i++) {
        int n = snprintf(out + len, VF_SET_MAX - len, "%s%.*s", i ? "+" : "", SK_PRI(names[i]));

        len += n > 0 ? (size_t)n : 0;
    }
    return out;
}

static int descending(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x < *y) - (*x > *y);
}

int64_t vf_top(int64_t *values, size_t count, int64_t n)
{
    int64_t sum = 0;

    if (count > 1) {
        qsort(values, count, sizeof(*values), descending);
    }
    for (size_t i = 0; i < count && (int64_t)i < n; i++) {
        sum += values[i];
    }
    return sum;
}
