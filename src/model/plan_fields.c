/* SPDX-License-Identifier: Apache-2.0 */
#include "model/plan_fields.h"

#include "base/mem.h"
#include "model/plan.h"

#define VALUE(type, key, kind, member)                              \
    {                                                               \
        key, kind, offsetof(type, member), 0, 0, NULL, false, false \
    }
#define LIST(type, key, kind, member, n)                                            \
    {                                                                               \
        key, kind, offsetof(type, member), offsetof(type, n), 0, NULL, false, false \
    }
#define ROWS(type, key, member, n, row, rows)                                                    \
    {                                                                                            \
        key, FIELD_ROWS, offsetof(type, member), offsetof(type, n), sizeof(row), &(rows), false, \
            false                                                                                \
    }
#define OBJECT(key, object)                                 \
    {                                                       \
        key, FIELD_OBJECT, 0, 0, 0, &(object), false, false \
    }
#define LAYOUT(name)                                                             \
    _Static_assert(SK_ARRAY_LEN(name##_fields) == SK_ARRAY_LEN(name##_sorted) && \
                       SK_ARRAY_LEN(name##_fields) <= LAYOUT_FIELDS_MAX,         \
                   "every field has its place in the canonical order");          \
    static const struct layout name = {name##_fields, name##_sorted, SK_ARRAY_LEN(name##_fields)}

static const struct field placement_fields[] = {
    VALUE(struct plan_placement, "project", FIELD_STR, project),
    VALUE(struct plan_placement, "service", FIELD_STR, service),
    VALUE(struct plan_placement, "replica", FIELD_INT, replica),
    VALUE(struct plan_placement, "site", FIELD_STR, site),
    VALUE(struct plan_placement, "node", FIELD_STR, node),
};
static const uint8_t placement_sorted[] = {4, 0, 2, 1, 3};
LAYOUT(placement);

static const struct field bucket_fields[] = {
    VALUE(struct plan_bucket, "project", FIELD_STR, project),
    VALUE(struct plan_bucket, "bucket", FIELD_STR, bucket),
    VALUE(struct plan_bucket, "data", FIELD_INT, data),
    VALUE(struct plan_bucket, "parity", FIELD_INT, parity),
    LIST(struct plan_bucket, "shards", FIELD_SHARDS, shards, nshards),
};
static const uint8_t bucket_sorted[] = {1, 2, 3, 0, 4};
LAYOUT(bucket);

static const struct field servers_fields[] = {
    VALUE(struct plan, "hour", FIELD_MAYBE, cost.servers_hour),
    LIST(struct plan, "idle", FIELD_STRS, cost.idle, cost.nidle),
};
static const uint8_t servers_sorted[] = {0, 1};
LAYOUT(servers);

static const struct field cost_fields[] = {
    VALUE(struct plan, "currency", FIELD_STR, cost.currency),
    VALUE(struct plan, "hour", FIELD_MAYBE, cost.hour),
    VALUE(struct plan, "month", FIELD_MAYBE, cost.month),
    VALUE(struct plan, "lower_bound_hour", FIELD_MAYBE, cost.lower_bound_hour),
    VALUE(struct plan, "gap", FIELD_MAYBE, cost.gap),
    OBJECT("servers", servers),
};
static const uint8_t cost_sorted[] = {0, 4, 1, 3, 2, 5};
LAYOUT(cost);

static const struct field latency_fields[] = {
    VALUE(struct plan_latency, "project", FIELD_STR, project),
    VALUE(struct plan_latency, "service", FIELD_STR, service),
    VALUE(struct plan_latency, "ms", FIELD_MAYBE, ms),
    VALUE(struct plan_latency, "share", FIELD_NUM, share),
};
static const uint8_t latency_sorted[] = {2, 0, 1, 3};
LAYOUT(latency);

static const struct field loss_latency_fields[] = {
    VALUE(struct plan_latency, "project", FIELD_STR, project),
    VALUE(struct plan_latency, "service", FIELD_STR, service),
    VALUE(struct plan_latency, "ms_at_once", FIELD_MAYBE, ms_at_once),
    VALUE(struct plan_latency, "ms", FIELD_MAYBE, ms),
    VALUE(struct plan_latency, "share", FIELD_NUM, share),
};
static const uint8_t loss_latency_sorted[] = {3, 2, 0, 1, 4};
LAYOUT(loss_latency);

static const struct field kept_fields[] = {
    VALUE(struct plan_kept, "project", FIELD_STR, project),
    VALUE(struct plan_kept, "service", FIELD_STR, service),
    VALUE(struct plan_kept, "count", FIELD_INT, count),
};
static const uint8_t kept_sorted[] = {2, 0, 1};
LAYOUT(kept);

static const struct field shortfall_fields[] = {
    VALUE(struct plan_short, "project", FIELD_STR, project),
    VALUE(struct plan_short, "service", FIELD_STR, service),
    VALUE(struct plan_short, "replicas", FIELD_INT, replicas),
    VALUE(struct plan_short, "resource", FIELD_STR, resource),
    VALUE(struct plan_short, "asked", FIELD_BOOL, asked),
};
static const uint8_t shortfall_sorted[] = {4, 0, 2, 3, 1};
LAYOUT(shortfall);

static const struct field loss_fields[] = {
    LIST(struct plan_loss, "lost", FIELD_STRS, lost, nlost),
    VALUE(struct plan_loss, "ok", FIELD_BOOL, ok),
    VALUE(struct plan_loss, "control", FIELD_CONTROL, control_kept),
    ROWS(struct plan_loss, "kept", kept, nkept, struct plan_kept, kept),
    ROWS(struct plan_loss, "replaced", replaced, nreplaced, struct plan_placement, placement),
    ROWS(struct plan_loss, "short", shorts, nshorts, struct plan_short, shortfall),
    ROWS(struct plan_loss, "latency", latency, nlatency, struct plan_latency, loss_latency),
    VALUE(struct plan_loss, "added_cost_hour", FIELD_MAYBE, added_cost_hour),
};
static const uint8_t loss_sorted[] = {7, 2, 3, 6, 0, 1, 4, 5};
LAYOUT(loss);

static const struct field worst_fields[] = {
    LIST(struct plan_loss, "lost", FIELD_STRS, lost, nlost),
    ROWS(struct plan_loss, "kept", kept, nkept, struct plan_kept, kept),
    VALUE(struct plan_loss, "ok", FIELD_BOOL, ok),
};
static const uint8_t worst_sorted[] = {1, 0, 2};
LAYOUT(worst);

static const struct field node_losses_fields[] = {
    VALUE(struct plan, "checked", FIELD_INT, node_losses.checked),
    VALUE(struct plan, "ok", FIELD_BOOL, node_losses.ok),
    ROWS(struct plan, "worst", node_losses.worst, node_losses.nworst, struct plan_loss, worst),
};
static const uint8_t node_losses_sorted[] = {0, 1, 2};
LAYOUT(node_losses);

static const struct field move_fields[] = {
    VALUE(struct plan_move, "project", FIELD_STR, project),
    VALUE(struct plan_move, "service", FIELD_STR, service),
    VALUE(struct plan_move, "replica", FIELD_INT, replica),
    VALUE(struct plan_move, "from", FIELD_NAME, from),
    VALUE(struct plan_move, "to", FIELD_NAME, to),
    VALUE(struct plan_move, "why", FIELD_STR, why),
};
static const uint8_t move_sorted[] = {3, 0, 2, 1, 4, 5};
LAYOUT(move);

static const struct field problem_fields[] = {
    VALUE(struct plan_problem, "code", FIELD_STR, code),
    VALUE(struct plan_problem, "project", FIELD_NAME, project),
    VALUE(struct plan_problem, "service", FIELD_NAME, service),
    VALUE(struct plan_problem, "bucket", FIELD_NAME, bucket),
    VALUE(struct plan_problem, "zone", FIELD_NAME, zone),
    LIST(struct plan_problem, "lost", FIELD_STRS, lost, nlost),
    VALUE(struct plan_problem, "resource", FIELD_NAME, resource),
    VALUE(struct plan_problem, "short", FIELD_MAYBE, missing),
    VALUE(struct plan_problem, "proven", FIELD_BOOL, proven),
    VALUE(struct plan_problem, "text", FIELD_STR, text),
    VALUE(struct plan_problem, "fix", FIELD_STR, fix),
};
static const uint8_t problem_sorted[] = {3, 0, 10, 5, 1, 8, 6, 2, 7, 9, 4};
LAYOUT(problem);

static const struct field warning_fields[] = {
    VALUE(struct plan_warning, "code", FIELD_STR, code),
    VALUE(struct plan_warning, "project", FIELD_NAME, project),
    VALUE(struct plan_warning, "service", FIELD_NAME, service),
    VALUE(struct plan_warning, "text", FIELD_STR, text),
};
static const uint8_t warning_sorted[] = {0, 1, 2, 3};
LAYOUT(warning);

static const struct field based_on_fields[] = {
    VALUE(struct plan, "store", FIELD_NAME, based_on_store),
    VALUE(struct plan, "revision", FIELD_INT, based_on_revision),
};
static const uint8_t based_on_sorted[] = {1, 0};
LAYOUT(based_on);

static const struct field timing_fields[] = {
    VALUE(struct plan, "read", FIELD_NUM, timing_ms.read),
    VALUE(struct plan, "plan", FIELD_NUM, timing_ms.plan),
    VALUE(struct plan, "losses", FIELD_NUM, timing_ms.losses),
    VALUE(struct plan, "total", FIELD_NUM, timing_ms.total),
    {"print", FIELD_NUM, offsetof(struct plan, timing_ms.print), 0, 0, NULL, true, false},
};
static const uint8_t timing_sorted[] = {2, 1, 4, 0, 3};
LAYOUT(timing);

static const struct field plan_fields[] = {
    {"format", FIELD_FORMAT, 0, 0, 0, NULL, false, false},
    {"id", FIELD_ID, offsetof(struct plan, id), 0, 0, NULL, false, true},
    VALUE(struct plan, "verdict", FIELD_VERDICT, verdict),
    OBJECT("based_on", based_on),
    ROWS(struct plan, "placements", placements, nplacements, struct plan_placement, placement),
    ROWS(struct plan, "buckets", buckets, nbuckets, struct plan_bucket, bucket),
    OBJECT("cost", cost),
    ROWS(struct plan, "latency", latency, nlatency, struct plan_latency, latency),
    ROWS(struct plan, "losses", losses, nlosses, struct plan_loss, loss),
    OBJECT("node_losses", node_losses),
    ROWS(struct plan, "moves", moves, nmoves, struct plan_move, move),
    ROWS(struct plan, "problems", problems, nproblems, struct plan_problem, problem),
    ROWS(struct plan, "warnings", warnings, nwarnings, struct plan_warning, warning),
    {"timing_ms", FIELD_OBJECT, 0, 0, 0, &timing, false, true},
};
static const uint8_t plan_sorted[] = {3, 5, 6, 0, 1, 7, 8, 10, 9, 4, 11, 13, 2, 12};
_Static_assert(SK_ARRAY_LEN(plan_fields) == SK_ARRAY_LEN(plan_sorted), "all fields are sorted");
const struct layout plan_layout = {plan_fields, plan_sorted, SK_ARRAY_LEN(plan_fields)};
