/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_PROJECT_HELP_H
#define SK_PROJECT_HELP_H

#include "model_test.h"

#include "model/project.h"

/* What the tests' "outside" holds: variables and files. */
static bool help_lookup(void *ctx, struct sk_str name, struct sk_str *ret_value)
{
    static const char *const vars[][2] = {
        {"SET", "value"}, {"EMPTY", ""},   {"N", "3"},      {"DOLLAR", "${SET}"},
        {"IMG", "nginx"}, {"TAG", "1.25"}, {"BAD", "\xff"}, {"FLAG", "true"},
    };
    for (size_t i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {
        if (sk_str_is(name, vars[i][0])) {
            *ret_value = sk_str(vars[i][1]);
            return true;
        }
    }
    return false;
}

static const char help_env[] = "# a comment\n"
                               "A=1\n"
                               "export B = two words # not this\n"
                               "C='lit $SET'\n"
                               "D=\"x\\ty $SET \\$SET\"\n"
                               "E: yaml\n"
                               "\n"
                               "SET\n"
                               "UNKNOWN\n"
                               "F=${A}-${SET}-${NONE:-dflt}\n"
                               "G=a#b\r\n"
                               "H=\"two\nlines\" # and a comment\n"
                               "A=again\n"
                               "dotted.key-x=1\n"
                               "I=";

static int help_read_file(void *ctx, struct sk_str path, struct sk_str *ret_bytes,
                          struct sk_err *err)
{
    if (sk_str_is(path, "app.env")) {
        *ret_bytes = SK_STR(help_env);
        return 0;
    }
    if (sk_str_is(path, "more.env")) {
        *ret_bytes = SK_STR("A=more\nZ=26\n");
        return 0;
    }
    if (sk_str_is(path, "bad.env")) {
        *ret_bytes = SK_STR("OK=1\n  two words\n");
        return 0;
    }
    if (sk_str_is(path, "open.env")) {
        *ret_bytes = SK_STR("OK=1\nX=\"never\nclosed\n");
        return 0;
    }
    if (sk_str_is(path, "need.env")) {
        *ret_bytes = SK_STR("X=${NONE:?say so}\n");
        return 0;
    }
    return sk_err_set(err, SK_ERR_NOT_FOUND, "open '%.*s': no such file", SK_PRI(path));
}

static const struct project_env help_outside = {help_lookup, help_read_file, NULL};

static inline int help_read(const char *text, bool for_apply, struct project **ret,
                            struct sk_err *err)
{
    const struct project_options options = {
        .env = &help_outside, .fallback_name = SK_STR("folder"), .for_apply = for_apply};
    return project_read("c.yaml", sk_str(text), &options, ret, err);
}

static inline struct project *help_accept(const char *text)
{
    struct project *project = NULL;
    struct sk_err err = {0};

    if (help_read(text, false, &project, &err) < 0) {
        fail_msg("refused: %s\n%s", err.msg, text);
    }
    return project;
}

/* Runs a table of refusals; all that differ are printed. */
static inline void help_refuse(const struct refusal *rows, size_t count, bool for_apply)
{
    int wrong = 0;

    for (size_t i = 0; i < count; i++) {
        struct project *project = NULL;
        struct sk_err err = {0};
        int code = help_read(rows[i].text, for_apply, &project, &err);
        if (code == 0) {
            print_error("accepted: %s\n", rows[i].text);
            project_free(project);
            wrong++;
            continue;
        }
        wrong += differs(err.msg, rows[i].msg);
        wrong += differs(sk_code_name(code), sk_code_name(rows[i].code));
        wrong += rows[i].fix ? differs(err.fix, rows[i].fix) : 0;
    }
    assert_int_equal(wrong, 0);
}

#define HELP_REFUSE(rows, for_apply) help_refuse(rows, sizeof(rows) / sizeof((rows)[0]), for_apply)

#endif
