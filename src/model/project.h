/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_PROJECT_H
#define SK_MODEL_PROJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/tree.h"
#include "model/inventory.h"

/*
 * A project: one Compose file with x-skerry policies, resolved (variables, env_file, anchors) and
 * validated. docs/declaration.md lists the keys and says how they are read.
 *
 * Errors have "name:line:col: " of the offending value or key, and a fix where there is one:
 * SK_ERR_INPUT (not valid), SK_ERR_UNSUPPORTED (a key that is known, and refused until it is
 * executed), SK_ERR_LIMIT (beyond a bound). What all replicas of a project need adds up in an
 * int64_t.
 *
 * Everything lives in the project's arena and is immutable. Services, buckets and users are sorted
 * by name (byte order). "written" flags tell a declared policy (hard) from a default (a goal).
 */

/* What the outside gives: both calls are made while reading only. Pure code never opens a file
 * itself. */
struct project_env {
    /* Value of variable `name` for ${name}; false if unset. */
    bool (*lookup)(void *ctx, struct sk_str name, struct sk_str *ret_value);
    /* Content of a file named in the declaration (env_file), relative to it; bytes stay valid while
     * reading. `path` is NUL-terminated. SK_ERR_NOT_FOUND if there is no such file: that is no
     * error where the declaration says `required: false`. */
    int (*read_file)(void *ctx, struct sk_str path, struct sk_str *ret_bytes, struct sk_err *err);
    void *ctx;
};

struct argv {
    const struct sk_str *items; /* each NUL-terminated */
    size_t count;
};

enum check_kind { CHECK_NONE, CHECK_EXEC, CHECK_SHELL, CHECK_HTTP };

struct healthcheck {
    enum check_kind kind;
    struct argv
        test; /* CHECK_EXEC: the argv; CHECK_SHELL: one string for /bin/sh -c inside the instance */
    struct sk_str http_path;
    uint16_t http_port;
    int64_t interval_ms;     /* default 1000 */
    int64_t timeout_ms;      /* default 1000 */
    int64_t start_period_ms; /* default 0 */
    int64_t retries;         /* default 3: failures in a row that make it unhealthy */
};

/* Default: always; no for a service that another one waits for to complete. */
enum restart_policy { RESTART_ALWAYS, RESTART_NO, RESTART_ON_FAILURE, RESTART_UNLESS_STOPPED };

struct port {
    uint16_t target;
    uint16_t published; /* 0 = none */
    bool udp;
    struct sk_pos pos;
};

enum depends_condition { DEPENDS_STARTED, DEPENDS_HEALTHY, DEPENDS_COMPLETED };
struct depends {
    struct sk_str service;
    enum depends_condition condition;
};

/* node.labels.K, node.name, node.site, site.provider, site.region  ==  or  != */
enum constraint_subject { ON_LABEL, ON_NODE, ON_SITE, ON_PROVIDER, ON_REGION };
struct constraint {
    enum constraint_subject subject;
    struct sk_str label; /* ON_LABEL */
    bool equal;
    struct sk_str value;
    struct sk_str text; /* "SUBJECT == VALUE", for messages */
};

/* latency.after_loss_ms asks to survive a site: it sets sites_written and sites = 1 where that is
 * not written, and sites_implied then. */
struct survive {
    bool sites_written, nodes_written, keep_written;
    int64_t sites, nodes,
        keep; /* valid when written; the defaults depend on the inventory: planner */
    bool sites_implied;
};

struct latency_policy {
    bool written;
    bool has_ms;
    double ms;
    double share; /* 0..1, default 0.95 */
    bool has_after_loss;
    double after_loss_ms;
};

struct service {
    struct sk_str name;
    struct sk_pos pos;
    /* how to run it */
    struct sk_str image; /* "" = a program of the host */
    bool has_entrypoint, has_command;
    struct argv entrypoint, command;
    const struct sk_kv *environment; /* sorted, env_file merged in (environment wins) */
    size_t nenvironment;
    const struct port *ports;
    size_t nports;
    const uint16_t *expose;
    size_t nexpose;
    const struct depends *depends_on; /* sorted by service; same project; no cycle */
    size_t ndepends_on;
    struct healthcheck check;
    enum restart_policy restart;
    int64_t restart_max;                          /* on-failure:N, 0 = no limit */
    struct sk_str user, working_dir, stop_signal; /* "" = the image's, or the default */
    int64_t stop_grace_ms;                        /* default 10000 */
    const struct sk_kv *labels;                   /* of the instance */
    size_t nlabels;
    const struct sk_kv *deploy_labels; /* of the service */
    size_t ndeploy_labels;
    const struct sk_str *tmpfs;
    size_t ntmpfs;
    /* size */
    int64_t replicas; /* default 1, 0 allowed */
    int64_t cpus_nano, memory_bytes,
        disk_bytes; /* what a replica needs: reservations, else limits, else the default */
    int64_t limit_cpus_nano, limit_memory_bytes, limit_pids; /* 0 = no limit written */
    /* where */
    const struct constraint *constraints;
    size_t nconstraints;
    const struct sk_str *residency; /* "eu" or "country:DE" */
    size_t nresidency;
    struct survive survive;
    struct latency_policy latency;
    bool has_cost;
    double cost_month;
    bool has_traffic;
    double gb_month;        /* default 0 */
    double rps;             /* 0 = not written */
    double rps_per_replica; /* 0 = not written */
    bool has_route;
    struct sk_str route_host;
    uint16_t route_port;
    const struct sk_str *near; /* service names of the same project, sorted */
    size_t nnear;
    bool exclusive;
    struct sk_pos survive_pos, latency_pos, cost_pos, residency_pos, near_pos;
};

struct bucket {
    struct sk_str name;
    struct sk_pos pos;
    int64_t size_bytes; /* default 0 */
    bool has_code;
    int64_t data, parity;   /* code: k+m, valid when has_code */
    struct survive survive; /* only sites */
    const struct sk_str *residency;
    size_t nresidency;
};

struct user_rtt {
    struct sk_str site;
    double rtt_ms;
};

struct users {
    struct sk_str name;
    struct sk_pos pos;
    bool has_at;
    double lat, lon;
    double share; /* normalised: the shares of a project sum to 1; a share not written counts as 1
                     before that */
    const struct user_rtt *rtt; /* sorted by site */
    size_t nrtt;
};

struct project {
    struct sk_arena *arena; /* owned */
    struct sk_str name;
    struct sk_pos pos;
    const struct service *services;
    size_t nservices;
    const struct bucket *buckets;
    size_t nbuckets;
    const struct users *users;
    size_t nusers;
    struct sk_str canonical; /* resolved form, RFC 8785 JSON; reads back to an equal project */
    char id[72];             /* "sha256:<hex of canonical>" */
};

#define PROJECT_SERVICES_MAX 100000
#define PROJECT_REPLICAS_MAX 2000000

/* Reads and validates a Compose file. `name` is the path used in messages; a file without `name:`
 * takes the name of its folder only if `fallback_name` is given. `for_apply`: also refuse keys that
 * are planned but not executed yet. env may be NULL: then no variable is set and no file can be
 * read. */
struct project_options {
    const struct project_env *env;
    struct sk_str fallback_name;
    bool for_apply;
};
int project_read(const char *name, struct sk_str bytes, const struct project_options *options,
                 struct project **ret_project, struct sk_err *err);
/* From the canonical form (the store, the API). No variables are substituted. */
int project_from_canonical(const char *name, struct sk_str json, struct project **ret_project,
                           struct sk_err *err);
void project_free(struct project *project); /* NULL allowed */

int64_t project_service(const struct project *project, struct sk_str name); /* index, or -1 */

/* Hash of what makes a running instance another one (image, argv, environment, mounts, limits,
 * user, stop, check): "sha256:..." in out. Policies and replica count are not in it. */
void service_spec_hash(const struct service *service, char out[72]);

/* Checks that need both: names in residency and constraints are free text, but rtt_ms must name
 * sites that exist, and the same project or bucket name must not come twice. */
int world_check(const struct inventory *inv, const struct project *const *projects,
                size_t nprojects, struct sk_err *err);

/* The support matrix, generated from the table that the validator uses: Markdown for docs. */
void project_support_matrix(struct sk_buf *out);

#endif
