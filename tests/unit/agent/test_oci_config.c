/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/assign.h"
#include "agent/images.h"
#include "agent/oci_config.h"
#include "base/mem.h"
#include "sys/file.h"

static const char *const argv[] = {"/bin/web", "--port", "8000", NULL};
static const char *const env[] = {"PATH=/bin", "MODE=prod", NULL};
static const struct sk_str tmpfs[] = {{"/scratch:size=64m,mode=1777", 27}, {"/run", 4}};

static struct oci_spec sample(void)
{
    return (struct oci_spec){.argv = argv,
                             .env = env,
                             .cwd = "/app",
                             .user = {.uid = 0, .gid = 0},
                             .hostname = "web-0",
                             .tmpfs = tmpfs,
                             .ntmpfs = 2,
                             .limits = {500000000, 256 << 20, 100},
                             .cgroup_path = "/skerry/0123456789abcdef"};
}

static void golden_path(char out[1024])
{
    (void)snprintf(out, 1024, "%s/tests/unit/agent/config.json.golden",
                   getenv("SKERRY_SOURCE_ROOT") ? getenv("SKERRY_SOURCE_ROOT") : ".");
}

/* SKERRY_GOLDEN=write renews the file; what changed is then in the diff for a person to judge. */
static void test_golden(void **state)
{
    struct oci_spec spec = sample();
    struct sk_buf out = SK_BUF_INIT, golden = SK_BUF_INIT;
    char path[1024];

    assert_int_equal(oci_config_write(&spec, &out, NULL), 0);
    sk_buf_addc(&out, '\n');
    golden_path(path);
    if (getenv("SKERRY_GOLDEN")) {
        assert_int_equal(sys_file_write(path, sk_buf_str(&out), 0644, NULL), 0);
    }
    assert_int_equal(sys_file_read(path, 1 << 20, &golden, NULL), 0);
    assert_string_equal(out.ptr, golden.ptr);
    sk_buf_release(&out);
    sk_buf_release(&golden);
}

static void replace(struct sk_buf *buf, const char *from, const char *to)
{
    char *at = strstr(buf->ptr, from);
    struct sk_buf next = SK_BUF_INIT;

    assert_non_null(at);
    sk_buf_add(&next, buf->ptr, (size_t)(at - buf->ptr));
    sk_buf_adds(&next, to);
    sk_buf_adds(&next, at + strlen(from));
    sk_buf_release(buf);
    *buf = next;
}

/* The positive twin first; then one broken rule at a time. */
static void test_lint(void **state)
{
    static const struct {
        const char *from, *to, *said;
    } rows[] = {
        {"\"terminal\":false", "\"terminal\":true", "terminal"},
        {"\"noNewPrivileges\":true", "\"noNewPrivileges\":false", "new privileges"},
        {"\"CAP_KILL\"", "\"CAP_SYS_ADMIN\"", "CAP_SYS_ADMIN"},
        {"{\"destination\":\"/dev\",\"type\":\"tmpfs\"",
         "{\"destination\":\"/dev\",\"type\":\"bind\"", "type 'bind'"},
        {"{\"destination\":\"/dev\",", "{\"destination\":\"/devices\",", "'/dev' is not a tmpfs"},
        {"\"options\":[\"nosuid\",\"nodev\"]", "\"options\":[\"rbind\"]", "a host path"},
        {"{\"destination\":\"/run\"", "{\"destination\":\"/a/../proc\"", "a mount on"},
        {"{\"destination\":\"/run\"", "{\"destination\":\"/proc\"", "type 'tmpfs' on '/proc'"},
        {"\"hostname\"", "\"hooks\":{},\"hostname\"", "'hooks'"},
        {"\"hostname\"", "\"annotations\":{\"run.oci.x\":\"1\"},\"hostname\"", "'annotations'"},
        {"{\"type\":\"pid\"}", "{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}", "'path'"},
        {"{\"type\":\"pid\"},", "", "namespaces"},
        {"\"/proc/kcore\",", "", "'/proc/kcore' is not in"},
        {"\"/proc/sys\",", "", "'/proc/sys' is not in"},
        {"\"unshare\",", "", "does not refuse 'unshare'"},
        {"\"cgroupsPath\":\"/skerry/", "\"cgroupsPath\":\"/skerry/../", "cgroup"},
        {"\"path\":\"rootfs\"", "\"path\":\"/\"", "files"},
        {"\"args\":[\"/bin/web\",\"--port\",\"8000\"]", "\"args\":[]", "no program"},
        {"\"cwd\":\"/app\"", "\"cwd\":\"app\"", "not absolute"},
    };
    struct oci_spec spec = sample();
    struct sk_err err = {0};

    for (size_t i = 0; i < SK_ARRAY_LEN(rows); i++) {
        struct sk_buf out = SK_BUF_INIT;
        assert_int_equal(oci_config_write(&spec, &out, NULL), 0);
        assert_int_equal(oci_lint(sk_buf_str(&out), &err), 0);
        replace(&out, rows[i].from, rows[i].to);
        assert_true(oci_lint(sk_buf_str(&out), &err) < 0);
        if (!strstr(err.msg, rows[i].said)) {
            fail_msg("row %zu: '%s' does not say '%s'", i, err.msg, rows[i].said);
        }
        sk_buf_release(&out);
    }
}

static void test_tmpfs_refused(void **state)
{
    static const char *const bad[] = {"/proc/x", "/dev",    "/sys",         "relative",  "/",
                                      "/a/../b", "/x:bind", "/x:size=many", "/x:mode=9z"};

    for (size_t i = 0; i < SK_ARRAY_LEN(bad); i++) {
        struct oci_spec spec = sample();
        struct sk_str one = sk_str(bad[i]);
        struct sk_buf out = SK_BUF_INIT;
        spec.tmpfs = &one;
        spec.ntmpfs = 1;
        assert_int_equal(oci_config_write(&spec, &out, NULL), SK_ERR_INPUT);
        sk_buf_release(&out);
    }
}

static void test_users(void **state)
{
    struct sk_str passwd =
        SK_STR("root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:\nodd:x:z:1::/:\n");
    struct sk_str group = SK_STR("root:x:0:\nweb:x:34:\ndisk:x:6:root,web\n");
    struct oci_user u;
    struct sk_err err = {0};

    assert_int_equal(oci_find_user(SK_STR(""), passwd, group, &u, &err), 0);
    assert_int_equal(u.uid, 0);
    assert_int_equal(oci_find_user(SK_STR("web"), passwd, group, &u, &err), 0);
    assert_true(u.uid == 33 && u.gid == 34 && u.ngroups == 1 && u.groups[0] == 6);
    assert_int_equal(oci_find_user(SK_STR("33:disk"), passwd, group, &u, &err), 0);
    assert_true(u.uid == 33 && u.gid == 6 && u.ngroups == 0);
    assert_int_equal(oci_find_user(SK_STR("1000:1001"), SK_STR(""), SK_STR(""), &u, &err), 0);
    assert_true(u.uid == 1000 && u.gid == 1001);
    assert_int_equal(oci_find_user(SK_STR("nobody"), passwd, group, &u, &err), SK_ERR_INPUT);
    assert_string_equal(err.msg, "user 'nobody' does not exist in the image");
    assert_int_equal(oci_find_user(SK_STR("web:none"), passwd, group, &u, &err), SK_ERR_INPUT);
    assert_int_equal(oci_find_user(SK_STR("odd"), passwd, group, &u, &err), SK_ERR_INPUT);
}

static void source_is(const char *ref, const char *digest, const char *want, bool insecure)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_str source = SK_STR_NULL;
    struct sk_err err = {0};
    bool got = false;
    int rc = image_source(sk_str(ref), sk_str(digest), arena, &source, &got, &err);

    if (!want) {
        assert_int_equal(rc, SK_ERR_INPUT);
    } else {
        assert_int_equal(rc, 0);
        assert_string_equal(source.ptr, want);
        assert_int_equal(got, insecure);
    }
    sk_arena_free(arena);
}

static void test_sources(void **state)
{
    source_is("shop/web:1.4", "", "docker://shop/web:1.4", false);
    source_is("r.example.com:5000/web:1", "sha256:ab", "docker://r.example.com:5000/web@sha256:ab",
              false);
    source_is("docker://127.0.0.1:5000/web", "", "docker://127.0.0.1:5000/web", true);
    source_is("localhost:5000/web@sha256:00", "sha256:ab", "docker://localhost:5000/web@sha256:ab",
              true);
    source_is("oci:/srv/images:web", "sha256:ab", "oci:/srv/images:web", false);
    source_is("oci-archive:/srv/web.tar", "", "oci-archive:/srv/web.tar", false);
    source_is("oci:images:web", "", NULL, false);
    source_is("docker-archive:/srv/../etc/x", "", NULL, false);
    source_is("-web", "", NULL, false);
    source_is("a b", "", NULL, false);
    source_is("dir:/etc;x", "", NULL, false);
}

static int manifest(const char *json, int64_t *bytes)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_str digest;
    int rc = image_check_manifest(sk_str(json), arena, bytes, &digest, NULL);
    sk_arena_free(arena);
    return rc;
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static void test_manifests(void **state)
{
    int64_t bytes = 0;

    assert_int_equal(manifest("{\"config\":{\"digest\":\"sha256:" HEX "\",\"size\":9},\"layers\":[{"
                              "\"digest\":\"sha256:" HEX "\",\"size\":100}]}",
                              &bytes),
                     0);
    assert_int_equal(bytes, 100);
    assert_int_equal(manifest("{\"config\":{\"digest\":\"sha256:" HEX "\",\"size\":9},\"layers\":[{"
                              "\"digest\":\"sha256:" HEX "\",\"size\":99999999999999}]}",
                              &bytes),
                     SK_ERR_LIMIT);
    assert_int_equal(manifest("{\"config\":{\"digest\":\"sha256:" HEX "\",\"size\":9999999},"
                              "\"layers\":[]}",
                              &bytes),
                     SK_ERR_LIMIT);
    assert_int_equal(
        manifest("{\"config\":{\"digest\":\"sha256:../../x\",\"size\":9},\"layers\":[]}", &bytes),
        SK_ERR_INPUT);
    assert_int_equal(manifest("{\"layers\":[{\"size\":-1}]}", &bytes), SK_ERR_INPUT);
    assert_int_equal(manifest("[]", &bytes), SK_ERR_INPUT);
    assert_true(manifest("{", &bytes) < 0);
}

static void test_signals(void **state)
{
    assert_int_equal(assign_signal(SK_STR("SIGTERM")), 15);
    assert_int_equal(assign_signal(SK_STR("QUIT")), 3);
    assert_int_equal(assign_signal(SK_STR("9")), 9);
    assert_int_equal(assign_signal(SK_STR("SIGNOPE")), 0);
    assert_int_equal(assign_signal(SK_STR("0")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_lint),
        cmocka_unit_test(test_tmpfs_refused), cmocka_unit_test(test_users),
        cmocka_unit_test(test_sources),       cmocka_unit_test(test_manifests),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
