/* SPDX-License-Identifier: Apache-2.0 */
/* The declaration's reader takes any bytes (and any env_file: the same bytes); the canonical form
 * of what it accepts is RFC 8785 and reads back to itself. */
#include "base/json.h"
#include "model/project.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lookup(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    *ret_value = *(const struct sk_str *)ctx;
    return name.len % 2 == 0;
}

static int read_file(void *ctx, struct sk_str path, struct sk_str *ret_bytes, struct sk_err *err)
{
    if (path.len % 2) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "no such file");
    }
    *ret_bytes = *(const struct sk_str *)ctx;
    return 0;
}

static void check(const struct project *project)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf jcs = SK_BUF_INIT;
    const struct sk_node *root;
    struct project *again;
    char hash[72];

    SK_ASSERT(project_from_canonical("c", project->canonical, &again, NULL) == 0);
    SK_ASSERT(sk_str_eq(again->canonical, project->canonical));
    SK_ASSERT(sk_json_read(arena, "c", project->canonical, NULL, &root, NULL) == 0);
    SK_ASSERT(sk_json_canonical(root, &jcs, NULL) == 0);
    SK_ASSERT(sk_str_eq(sk_buf_str(&jcs), project->canonical));
    for (size_t i = 0; i < project->nservices; i++) {
        service_spec_hash(&project->services[i], hash);
        SK_ASSERT(project_service(project, project->services[i].name) == (int64_t)i);
    }
    sk_buf_release(&jcs);
    project_free(again);
    sk_arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_str bytes = {(const char *)data, size};
    const struct project_env env = {lookup, read_file, &bytes};
    const struct project_options options = {.env = &env, .fallback_name = SK_STR("f")};
    struct project *project;
    struct sk_err err = {0};

    if (project_read("a", bytes, &options, &project, &err) == 0) {
        check(project);
        project_free(project);
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT ||
                  err.code == SK_ERR_UNSUPPORTED);
        SK_ASSERT(err.msg[0] != '\0');
    }
    return 0;
}
