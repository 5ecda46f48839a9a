/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_PROJECT_DRAFT_H
#define SK_MODEL_PROJECT_DRAFT_H

#include "model/project.h"
#include "model/reader.h"

/*
 * A project while it is being read: what the declaration said so far, and where. Internal to model.
 *
 * Reading has three steps: the tables of keys fill the drafts (project_read_*.c), the rules that
 * look at more than one value are checked (project_check.c), and the result is written in its
 * canonical form (project_write.c).
 */
struct named {
    struct sk_str name;
    struct sk_pos pos;
};

struct service_draft {
    struct service svc;
    const struct sk_kv *env_file; /* of all files, later ones win; sorted */
    size_t nenv_file;
    const struct sk_kv *env; /* `environment`; sorted */
    size_t nenv;
    struct depends *depends; /* in the order of the file, with positions */
    struct sk_pos *depends_pos;
    size_t ndepends;
    struct named *near;
    size_t nnear;
    bool has_need_cpus, has_need_memory; /* reservations are written */
    int64_t need_cpus, need_memory;
    bool has_restart;
    bool check_disabled;
    bool test_written;
    bool http_written;
    struct sk_pos healthcheck_pos, check_pos, replicas_pos, exclusive_pos, keep_pos, sites_pos,
        after_loss_pos, route_pos, command_pos;
};

struct project_draft {
    struct sk_str name;
    struct sk_pos pos;
    struct spot at_services;
    struct service_draft *services;
    size_t nservices;
    struct bucket *buckets;
    size_t nbuckets;
    struct users *users;
    size_t nusers;
};

/* Bounds within one service. */
#define PROJECT_ARGS_MAX 4096
#define PROJECT_ENV_MAX 4096
#define PROJECT_LABELS_MAX 1024
#define PROJECT_PORTS_MAX 1024
#define PROJECT_DEPENDS_MAX 1024
#define PROJECT_NEAR_MAX 64
#define PROJECT_CONSTRAINTS_MAX 64
#define PROJECT_RESIDENCY_MAX 64
#define PROJECT_TMPFS_MAX 64
#define PROJECT_ENV_FILES_MAX 64
#define PROJECT_TEXT_MAX 4096
#define PROJECT_SURVIVE_MAX 16
/* Within one project. */
#define PROJECT_USERS_MAX 1000
#define PROJECT_BUCKETS_MAX 10000

/* The objects of the declaration, in the order of the support matrix; NULL-ended. */
extern const struct rd_object *const project_objects[];
extern const struct rd_object project_object;
extern const struct rd_object service_object, env_file_object, depends_object, healthcheck_object,
    port_object, deploy_object, resources_object, limits_object, reservations_object,
    placement_object;
extern const struct rd_object policy_object, survive_object, latency_object, cost_object,
    traffic_object, route_object, check_object, http_object;
extern const struct rd_object world_object, users_object, bucket_object, bucket_survive_object;

/* Readers of one key; `into` is a struct service_draft or struct project_draft. */
rd_fn read_command, read_entrypoint;   /* project_read_run.c */
rd_fn read_environment, read_env_file; /* project_read_env.c */
rd_fn read_ports, read_expose;         /* project_read_ports.c */
rd_fn read_healthcheck, read_check;    /* project_read_health.c */
rd_fn read_deploy;                     /* project_read_deploy.c */
rd_fn read_policy;                     /* project_read_policy.c */
rd_fn read_world;                      /* project_read_world.c */
int read_residency_list(struct rd *rd, const struct spot *at, const struct sk_str **ret,
                        size_t *ret_count);
int read_survive_count(struct rd *rd, const struct spot *at, int64_t *ret);

/* project_read_service.c: one member of `services`. */
int read_service(struct rd *rd, const struct spot *at, struct service_draft *draft);

/* envfile.c: variables in the order in which they were set; a later one of the same name wins. */
struct env_list {
    struct env_var {
        struct sk_str key, value; /* in the project's arena */
        size_t order;
    } * vars; /* heap: env_list_release() */
    size_t count;
    size_t cap;
};
/* Appends what an env_file says. `file` is its name in messages, which have a position in it. */
int envfile_parse(struct rd *rd, struct sk_str file, struct sk_str bytes, struct env_list *list);
/* Sorts, keeps the last of each name, and moves the rest to the arena. */
void env_list_finish(struct rd *rd, struct env_list *list, const struct sk_kv **ret, size_t *count);
void env_list_release(struct env_list *list);

/* project_check.c: the rules across values; fills what is derived from them. */
int project_check(struct rd *rd, struct project_draft *draft);

/* project_write.c */
void project_write_canonical(const struct project *project, struct sk_buf *out);

#endif
