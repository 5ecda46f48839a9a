/* SPDX-License-Identifier: Apache-2.0 */
#include "model/project.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/yaml.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

static int read_name(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;

    if (rd_string(rd, at, &draft->name) < 0) {
        return rd->err.code;
    }
    return rd_compose_name(rd, spot_pos(rd, at), "project", draft->name);
}

static int read_service_member(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;
    return read_service(rd, at, &draft->services[draft->nservices++]);
}

static int read_services(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;

    if (rd_want(rd, at, SK_MAP) < 0 || rd_at_most(rd, at, PROJECT_SERVICES_MAX) < 0) {
        return rd->err.code;
    }
    draft->services = SK_ARENA_ARRAY(rd->scratch, struct service_draft, at->node->count);
    return rd_each(rd, at, read_service_member, draft);
}

static const struct rd_key project_keys[] = {
    {"version", RD_IGNORED, NULL, "anything", "ignored, as Compose does"},
    {"name", RD_EXECUTED, read_name, "lower case letters, digits, '-' and '_'",
     "default the name of the file's folder"},
    {"services", RD_EXECUTED, read_services, "map of services by name", NULL},
    {"x-skerry", RD_EXECUTED, read_world, "map", "users and buckets; see below"},
    {"networks", RD_REFUSED, NULL, NULL, "remove it: a project has no networks of its own yet"},
    {"volumes", RD_REFUSED, NULL, NULL,
     "keep the data outside for now; 'tmpfs' gives scratch space"},
    {"secrets", RD_REFUSED, NULL, NULL, "use 'environment' or 'env_file' for now"},
    {"configs", RD_REFUSED, NULL, NULL, "put the file into the image for now"},
    {"include", RD_REFUSED, NULL, NULL, "name the files on the command line"},
};
const struct rd_object project_object = {.place = "the file",
                                         .keys = project_keys,
                                         .nkeys = SK_ARRAY_LEN(project_keys),
                                         .known = compose_top_keys,
                                         .extensions = true};

/* As Compose makes a project's name of a folder's: lower case, what does not fit left out. */
static struct sk_str fallback_name(struct rd *rd, struct sk_str folder)
{
    char *out = sk_arena_alloc(rd->arena, folder.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < folder.len && n < RD_NAME_MAX; i++) {
        char c = folder.ptr[i];
        c = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (n > 0 && (c == '-' || c == '_'))) {
            out[n++] = c;
        }
    }
    return (struct sk_str){out, n};
}

static int name_project(struct rd *rd, struct project_draft *draft, struct sk_str fallback)
{
    if (draft->name.len > 0) {
        return 0;
    }
    draft->name = fallback_name(rd, fallback);
    if (draft->name.len > 0) {
        return 0;
    }
    (void)rd_fail(rd, draft->pos, SK_ERR_INPUT, "the project has no name");
    return sk_err_fix(&rd->err, "write 'name: NAME' at the top");
}

static struct project *make(struct rd *rd, const struct project_draft *draft)
{
    struct project *project = sk_xcalloc(1, sizeof(*project));
    struct service *services = SK_ARENA_ARRAY(rd->arena, struct service, draft->nservices);
    struct sk_buf canonical = SK_BUF_INIT;
    char hex[SK_SHA256_HEX];

    for (size_t i = 0; i < draft->nservices; i++) {
        services[i] = draft->services[i].svc;
    }
    project->arena = rd->arena;
    project->name = draft->name;
    project->pos = draft->pos;
    project->services = services;
    project->nservices = draft->nservices;
    project->buckets = draft->buckets;
    project->nbuckets = draft->nbuckets;
    project->users = draft->users;
    project->nusers = draft->nusers;
    project_write_canonical(project, &canonical);
    project->canonical = sk_arena_str(rd->arena, sk_buf_str(&canonical));
    sk_buf_release(&canonical);
    sk_sha256_hex(project->canonical, hex);
    (void)snprintf(project->id, sizeof(project->id), "sha256:%s", hex);
    return project;
}

static int read_all(struct rd *rd, struct sk_str bytes, struct sk_str fallback,
                    struct project **ret_project)
{
    struct project_draft draft = {0};
    const struct sk_node *root = NULL;
    struct spot at;

    if (sk_tree_read(rd->scratch, rd->file, bytes, NULL, &root, &rd->err) < 0) {
        return rd->err.code;
    }
    at = spot_root(root);
    draft.pos = spot_pos(rd, &at);
    if (rd_object_read(rd, &at, &project_object, &draft) < 0 ||
        name_project(rd, &draft, fallback) < 0 || project_check(rd, &draft) < 0) {
        return rd->err.code;
    }
    *ret_project = make(rd, &draft);
    return 0;
}

static int read_with(const char *name, struct sk_str bytes, const struct project_options *options,
                     bool interpolate, struct project **ret_project, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_arena *scratch = sk_arena_new();
    struct rd rd;
    int code;

    rd_begin(&rd, arena, scratch, name);
    rd.interpolate = interpolate;
    rd.env = options->env;
    rd.for_apply = options->for_apply;
    code = read_all(&rd, bytes, options->fallback_name, ret_project);
    if (code < 0) {
        sk_arena_free(arena);
        code = rd_end(&rd, err);
    }
    sk_arena_free(scratch);
    return code;
}

int project_read(const char *name, struct sk_str bytes, const struct project_options *options,
                 struct project **ret_project, struct sk_err *err)
{
    return read_with(name, bytes, options, true, ret_project, err);
}

int project_from_canonical(const char *name, struct sk_str json, struct project **ret_project,
                           struct sk_err *err)
{
    const struct project_options options = {0};
    return read_with(name, json, &options, false, ret_project, err);
}

void project_free(struct project *project)
{
    if (project) {
        sk_arena_free(project->arena);
        free(project);
    }
}

int64_t project_service(const struct project *project, struct sk_str name)
{
    size_t low = 0;
    size_t high = project->nservices;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(project->services[mid].name, name);
        if (order == 0) {
            return (int64_t)mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return -1;
}
