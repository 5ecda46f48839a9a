/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compose files as people write them: each is accepted, or refused with one line that names the
 * key. The first line of a file says what to expect: "# expect: accepted, N service(s)", or the
 * message without the file's name. JSON has no comments: those files are accepted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/project.h"

#define FILES_MIN 25

struct folder {
    const char *path;
    struct sk_buf files[8]; /* what read_file handed out */
    size_t count;
};

static bool read_whole(const char *folder, const char *name, struct sk_buf *out)
{
    char path[4096];
    char bytes[4096];
    FILE *file;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file) {
        return false;
    }
    while ((n = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        sk_buf_add(out, bytes, n);
    }
    fclose(file);
    return true;
}

static bool lookup(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    return false;
}

static int read_file(void *ctx, struct sk_str path, struct sk_str *ret_bytes, struct sk_err *err)
{
    struct folder *folder = ctx;
    struct sk_buf *buf = &folder->files[folder->count++];

    assert_true(folder->count <= SK_ARRAY_LEN(folder->files));
    if (!read_whole(folder->path, path.ptr, buf)) {
        return sk_err_set(err, SK_ERR_NOT_FOUND, "open '%.*s': no such file", SK_PRI(path));
    }
    *ret_bytes = sk_buf_str(buf);
    return 0;
}

/* The text after "# expect: " on the first line; "accepted" for JSON. */
static char *expectation(const struct sk_buf *text)
{
    static const char mark[] = "# expect: ";
    const char *end = strchr(text->ptr, '\n');

    if (text->ptr[0] == '{') {
        return sk_xstrdup("accepted, 1 service");
    }
    assert_non_null(end);
    assert_memory_equal(text->ptr, mark, sizeof(mark) - 1);
    return sk_xstrndup(text->ptr + sizeof(mark) - 1,
                       (size_t)(end - text->ptr) - (sizeof(mark) - 1));
}

static void outcome(const char *name, const struct sk_buf *text, struct folder *folder,
                    struct sk_buf *out)
{
    const struct project_env env = {lookup, read_file, folder};
    const struct project_options options = {.env = &env, .fallback_name = SK_STR("compose")};
    struct project *project = NULL;
    struct project *again = NULL;
    struct sk_err err = {0};

    if (project_read(name, sk_buf_str(text), &options, &project, &err) < 0) {
        size_t skip = strlen(name) + 1; /* "name:" */
        assert_memory_equal(err.msg, name, skip - 1);
        sk_buf_adds(out, err.msg + skip);
        if (err.code == SK_ERR_UNSUPPORTED && err.fix[0] == '\0') {
            sk_buf_adds(out, " (and no fix)");
        }
        return;
    }
    sk_buf_printf(out, "accepted, %zu service%s", project->nservices,
                  project->nservices == 1 ? "" : "s");
    assert_int_equal(project_from_canonical(name, project->canonical, &again, &err), 0);
    assert_string_equal(again->canonical.ptr, project->canonical.ptr);
    project_free(project);
    project_free(again);
}

static int check_one(const char *path, const char *name)
{
    struct folder folder = {.path = path};
    struct sk_buf text = SK_BUF_INIT;
    struct sk_buf got = SK_BUF_INIT;
    char *want;
    int wrong;

    assert_true(read_whole(path, name, &text));
    want = expectation(&text);
    outcome(name, &text, &folder, &got);
    wrong = strcmp(got.ptr, want) != 0;
    if (wrong) {
        print_error("%s\n  got:  %s\n  want: %s\n", name, got.ptr, want);
    }
    for (size_t i = 0; i < folder.count; i++) {
        sk_buf_release(&folder.files[i]);
    }
    free(want);
    sk_buf_release(&got);
    sk_buf_release(&text);
    return wrong;
}

static void each_file_has_its_outcome(void **state)
{
    char path[4096];
    struct dirent **entries = NULL;
    int found = 0;
    int wrong = 0;
    int n;

    (void)snprintf(path, sizeof(path), "%s/tests/golden/compose", getenv("SKERRY_SOURCE_ROOT"));
    n = scandir(path, &entries, NULL, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(entries[i]->d_name, '.');
        if (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".json") == 0)) {
            found++;
            wrong += check_one(path, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    print_message("%d Compose files, %d wrong\n", found, wrong);
    assert_int_equal(wrong, 0);
    assert_true(found >= FILES_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_has_its_outcome),
    };
    return cmocka_run_group_tests_name("compose files", tests, NULL, NULL);
}
