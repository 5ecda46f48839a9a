/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/images.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/assign.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "sys/file.h"
#include "sys/proc.h"

#define DIR_MAX 1024
#define MANIFEST_MAX (4 << 20)

struct waiter {
    images_ready_fn *done;
    void *ctx;
};

struct job {
    struct images *images;
    struct job *next;
    struct sk_arena *arena;
    struct sk_str ref, digest; /* digest "" until it is known */
    struct sk_str source;
    bool insecure;
    bool digest_given;
    char hex[65];
    char dir[DIR_MAX + 80]; /* where it is made: DIR/HEX.tmp */
    struct waiter *waiters;
    size_t nwaiters, waiters_cap;
};

/* What a reference without a digest stood for when it was last looked at. */
struct known {
    struct known *next;
    char hex[65];
    size_t len;
    char ref[];
};

struct images {
    uv_loop_t *loop;
    char dir[DIR_MAX];
    uv_timer_t kick;
    struct job *jobs; /* the first one is under way */
    bool busy;
    struct known *known;
};

static void next_job(struct images *images);

/* ---- answers ---- */

static void finish(struct job *job, const struct sk_err *err)
{
    struct images *images = job->images;

    images->jobs = job->next;
    images->busy = false;
    for (size_t i = 0; i < job->nwaiters; i++) {
        job->waiters[i].done(job->waiters[i].ctx, job->hex, err);
    }
    free(job->waiters);
    sk_arena_free(job->arena);
    free(job);
    next_job(images);
}

/* skopeo and umoci write logrus lines: time="..." level=fatal msg="the reason". Of skopeo's reasons
 * the first part names its own view of the reference, whatever went wrong. */
static void plain_reason(const struct sk_err *from, struct sk_err *to)
{
    static const char parsing[] = "Error parsing image name \"";
    const char *msg = strstr(from->msg, "msg=\""), *start;
    char text[SK_ERR_MSG_MAX];
    size_t n = 0;

    if (!msg) {
        *to = *from;
        return;
    }
    for (msg += 5; *msg && *msg != '"' && n + 1 < sizeof(text); msg++) {
        msg += *msg == '\\' && msg[1];
        text[n++] = *msg;
    }
    text[n] = '\0';
    start = strncmp(text, parsing, sizeof(parsing) - 1) == 0 ? strstr(text, "\": ") : NULL;
    (void)sk_err_set(to, from->code, "%s", start ? start + 3 : text);
    memcpy(to->fix, from->fix, sizeof(to->fix));
}

static void fail_job(struct job *job, const struct sk_err *why)
{
    struct sk_err err = {0};
    struct sk_str ref = job->ref;

    plain_reason(why, &err);
    (void)sk_err_wrap(&err, "image '%.*s'", SK_PRI(ref));
    finish(job, &err);
}

static void on_removed(void *ctx, const struct sk_proc_result *result)
{
}

static void remove_tree(uv_loop_t *loop, const char *path)
{
    const char *argv[] = {"rm", "-rf", "--", path, NULL};
    const struct sk_proc_spec spec = {.argv = argv};
    (void)sk_proc_start(loop, &spec, on_removed, NULL, NULL, NULL);
}

/* Starts the job's next program; a failure to start ends the job. */
static void run_step(struct job *job, const char *const *argv, int64_t timeout_ms, size_t out_max,
                     bool in_dir, sk_proc_done_fn *done)
{
    const struct sk_proc_spec spec = {.argv = argv,
                                      .cwd = in_dir ? job->dir : NULL,
                                      .timeout_ms = timeout_ms,
                                      .out_max = out_max};
    struct sk_err err = {0};

    if (sk_proc_start(job->images->loop, &spec, done, job, NULL, &err) < 0) {
        fail_job(job, &err);
    }
}

/* ---- an image that is there ---- */

static void boot_id(char out[40])
{
    struct sk_buf buf = SK_BUF_INIT;

    out[0] = '\0';
    if (sys_file_read("/proc/sys/kernel/random/boot_id", 64, &buf, NULL) == 0) {
        (void)snprintf(out, 40, "%.36s", buf.ptr);
    }
    sk_buf_release(&buf);
}

/* Unpacked files are only in memory until `synced` is there: enough within this boot, not after it.
 */
static bool is_there(const struct images *images, const char *hex)
{
    char path[DIR_MAX + 96], boot[40];
    struct sk_buf buf = SK_BUF_INIT;
    bool there;

    (void)snprintf(path, sizeof(path), "%s/%s/synced", images->dir, hex);
    if (access(path, F_OK) == 0) {
        return true;
    }
    boot_id(boot);
    (void)snprintf(path, sizeof(path), "%s/%s/done", images->dir, hex);
    there = sys_file_read(path, 64, &buf, NULL) == 0 && boot[0] && strcmp(buf.ptr, boot) == 0;
    sk_buf_release(&buf);
    return there;
}

static void remember(struct images *images, struct sk_str ref, const char *hex)
{
    struct known *k;

    for (k = images->known; k; k = k->next) {
        if (sk_str_eq((struct sk_str){k->ref, k->len}, ref)) {
            memcpy(k->hex, hex, sizeof(k->hex));
            return;
        }
    }
    k = sk_xcalloc(1, sizeof(*k) + ref.len + 1);
    memcpy(k->ref, ref.ptr, ref.len);
    k->len = ref.len;
    memcpy(k->hex, hex, sizeof(k->hex));
    k->next = images->known;
    images->known = k;
}

bool images_hex_of(const struct images *images, struct sk_str ref, struct sk_str digest,
                   char out[65])
{
    if (digest.len == 71) {
        memcpy(out, digest.ptr + 7, 64);
        out[64] = '\0';
        return true;
    }
    for (const struct known *k = images->known; k; k = k->next) {
        if (sk_str_eq((struct sk_str){k->ref, k->len}, ref)) {
            memcpy(out, k->hex, 65);
            return true;
        }
    }
    return false;
}

/* ---- the last steps: what was unpacked is put in place ---- */

static void on_synced(void *ctx, const struct sk_proc_result *result)
{
    char *path = ctx;

    if (result->err.code == SK_OK) {
        FILE *f = fopen(path, "we");
        if (f) {
            (void)fclose(f); /* without it the image is unpacked again after a power cut: no harm */
        }
    }
    free(path);
}

static void sync_later(const struct images *images, const char *hex)
{
    char *path = NULL;
    const char *argv[] = {"sync", "-f", images->dir, NULL};
    const struct sk_proc_spec spec = {.argv = argv};

    SK_ASSERT(asprintf(&path, "%s/%s/synced", images->dir, hex) >= 0);
    if (sk_proc_start(images->loop, &spec, on_synced, path, NULL, NULL) < 0) {
        free(path);
    }
}

static int put_in_place(struct job *job, struct sk_err *err)
{
    char path[DIR_MAX + 160], layout[DIR_MAX + 200], boot[40];
    FILE *f;

    boot_id(boot);
    (void)snprintf(path, sizeof(path), "%s/done", job->dir);
    f = fopen(path, "we");
    if (!f || fputs(boot, f) < 0 || fclose(f) != 0) {
        return sk_err_errno(err, errno, "write '%s'", path);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", job->images->dir, job->hex);
    if (rename(job->dir, path) < 0) {
        return sk_err_errno(err, errno, "put the image in '%s'", path);
    }
    (void)snprintf(layout, sizeof(layout), "%s/layout", path);
    remove_tree(job->images->loop, layout);
    sync_later(job->images, job->hex);
    return 0;
}

static void on_unpacked(void *ctx, const struct sk_proc_result *result)
{
    struct job *job = ctx;
    struct sk_err err = result->err;

    if (err.code == SK_OK && put_in_place(job, &err) == 0) {
        remember(job->images, job->ref, job->hex);
        finish(job, NULL);
        return;
    }
    remove_tree(job->images->loop, job->dir);
    fail_job(job, &err);
}

/* ---- what skopeo fetched is checked before it is unpacked ---- */

static int read_blob(const struct job *job, struct sk_str digest, size_t max, struct sk_buf *buf,
                     struct sk_err *err)
{
    char path[DIR_MAX + 200], hex[SK_SHA256_HEX];

    if (!assign_digest_valid(digest)) {
        return sk_err_set(err, SK_ERR_INPUT, "the image's index has a bad digest");
    }
    (void)snprintf(path, sizeof(path), "%s/layout/blobs/sha256/%.64s", job->dir, digest.ptr + 7);
    if (sys_file_read(path, max, buf, err) < 0) {
        return err->code;
    }
    sk_sha256_hex(sk_buf_str(buf), hex);
    if (memcmp(hex, digest.ptr + 7, 64) != 0) {
        return sk_err_set(err, SK_ERR_CORRUPT, "the image's content is not what its digest says");
    }
    return 0;
}

static int read_index(const struct job *job, struct sk_str *ret_manifest, struct sk_err *err)
{
    char path[DIR_MAX + 160];
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root, *list;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/layout/index.json", job->dir);
    rc = sys_file_read(path, 1 << 20, &buf, err);
    rc = rc < 0 ? rc : sk_json_read(job->arena, "index.json", sk_buf_str(&buf), NULL, &root, err);
    sk_buf_release(&buf);
    if (rc < 0) {
        return rc;
    }
    list = root->kind == SK_MAP ? sk_map_seq(root, "manifests") : NULL;
    if (!list || list->count != 1 || list->u.items[0].kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_INPUT, "the fetched image has no manifest");
    }
    *ret_manifest = sk_map_str(&list->u.items[0], "digest", SK_STR(""));
    return 0;
}

static int check_fetched(const struct job *job, struct sk_err *err)
{
    char path[DIR_MAX + 160];
    struct sk_buf manifest = SK_BUF_INIT, config = SK_BUF_INIT;
    struct sk_str manifest_digest, config_digest;
    int64_t bytes;
    int rc = read_index(job, &manifest_digest, err);

    rc = rc < 0 ? rc : read_blob(job, manifest_digest, MANIFEST_MAX, &manifest, err);
    rc = rc < 0
             ? rc
             : image_check_manifest(sk_buf_str(&manifest), job->arena, &bytes, &config_digest, err);
    rc = rc < 0 ? rc : read_blob(job, config_digest, 1 << 20, &config, err);
    (void)snprintf(path, sizeof(path), "%s/config.json", job->dir);
    rc = rc < 0 ? rc : sys_file_write(path, sk_buf_str(&config), 0600, err);
    sk_buf_release(&manifest);
    sk_buf_release(&config);
    return rc;
}

static void on_fetched(void *ctx, const struct sk_proc_result *result)
{
    static const char *const argv[] = {"umoci",      "raw",    "unpack", "--image",
                                       "layout:img", "rootfs", NULL};
    struct job *job = ctx;
    struct sk_err err = result->err;

    if (err.code == SK_OK && check_fetched(job, &err) == 0) {
        run_step(job, argv, IMAGE_UNPACK_TIMEOUT_MS, 0, true, on_unpacked);
        return;
    }
    remove_tree(job->images->loop, job->dir);
    fail_job(job, &err);
}

static void fetch(struct job *job)
{
    const char *argv[10];
    size_t n = 0;

    (void)snprintf(job->dir, sizeof(job->dir), "%s/%s.tmp", job->images->dir, job->hex);
    if (mkdir(job->dir, 0700) < 0 && errno != EEXIST) {
        struct sk_err err = {0};
        (void)sk_err_errno(&err, errno, "make '%s'", job->dir);
        fail_job(job, &err);
        return;
    }
    argv[n++] = "skopeo";
    if (access("/etc/containers/policy.json", F_OK) < 0) {
        argv[n++] = "--insecure-policy"; /* no policy on this host: as if it accepted everything */
    }
    argv[n++] = "copy";
    argv[n++] = "--quiet";
    if (job->insecure) {
        argv[n++] = "--src-tls-verify=false";
    }
    argv[n++] = job->source.ptr;
    argv[n++] = "oci:layout:img";
    argv[n] = NULL;
    run_step(job, argv, IMAGE_FETCH_TIMEOUT_MS, 0, true, on_fetched);
}

/* ---- which image a reference means ---- */

static int digest_of(const struct sk_proc_result *result, char hex[65], struct sk_err *err)
{
    if (result->err.code != SK_OK) {
        plain_reason(&result->err, err);
        return err->code;
    }
    if (result->out_cut || result->out.len == 0) {
        return sk_err_set(err, SK_ERR_LIMIT, "its manifest is empty or too large");
    }
    sk_sha256_hex(result->out, hex);
    return 0;
}

static void on_inspected(void *ctx, const struct sk_proc_result *result)
{
    struct job *job = ctx;
    struct sk_err err = {0};
    char hex[65];

    if (digest_of(result, hex, &err) < 0) {
        fail_job(job, &err);
        return;
    }
    if (job->digest_given && strcmp(hex, job->hex) != 0) {
        (void)sk_err_set(&err, SK_ERR_CORRUPT,
                         "it is not the image any more that was applied (sha256:%.12s, not %.12s)",
                         hex, job->hex);
        fail_job(job, &err);
        return;
    }
    memcpy(job->hex, hex, sizeof(job->hex));
    if (is_there(job->images, job->hex)) {
        remember(job->images, job->ref, job->hex);
        finish(job, NULL);
    } else {
        fetch(job);
    }
}

static size_t inspect_argv(const char *source, bool insecure, const char *argv[6])
{
    size_t n = 0;

    argv[n++] = "skopeo";
    argv[n++] = "inspect";
    argv[n++] = "--raw";
    if (insecure) {
        argv[n++] = "--tls-verify=false";
    }
    argv[n++] = source;
    argv[n] = NULL;
    return n;
}

static void begin_job(struct job *job)
{
    const char *argv[6];
    struct sk_err err = {0};

    if (job->digest_given && is_there(job->images, job->hex)) {
        finish(job, NULL);
        return;
    }
    if (image_source(job->ref, job->digest, job->arena, &job->source, &job->insecure, &err) < 0) {
        finish(job, &err);
        return;
    }
    if (job->digest_given && sk_str_starts(job->source, SK_STR("docker://"))) {
        fetch(job); /* by digest: the registry cannot give anything else */
        return;
    }
    (void)inspect_argv(job->source.ptr, job->insecure, argv);
    run_step(job, argv, 60000, MANIFEST_MAX, false, on_inspected);
}

static void on_kick(uv_timer_t *timer)
{
    struct images *images = timer->data;

    if (images->jobs && !images->busy) {
        images->busy = true;
        begin_job(images->jobs);
    }
}

static void next_job(struct images *images)
{
    (void)uv_timer_start(&images->kick, on_kick, 0, 0);
}

void images_want(struct images *images, struct sk_str ref, struct sk_str digest,
                 images_ready_fn *done, void *ctx)
{
    struct job **at = &images->jobs, *job;

    while (*at && !(sk_str_eq((*at)->ref, ref) && sk_str_eq((*at)->digest, digest))) {
        at = &(*at)->next;
    }
    job = *at;
    if (!job) {
        struct sk_arena *arena = sk_arena_new();
        job = *at = sk_xcalloc(1, sizeof(*job));
        job->images = images;
        job->arena = arena;
        job->ref = sk_arena_str(arena, ref);
        job->digest = sk_arena_str(arena, digest);
        job->digest_given = digest.len == 71;
        if (job->digest_given) {
            memcpy(job->hex, digest.ptr + 7, 64);
        }
        next_job(images);
    }
    if (done) {
        SK_GROW(job->waiters, job->nwaiters, job->waiters_cap);
        job->waiters[job->nwaiters++] = (struct waiter){done, ctx};
    }
}

/* ---- life ---- */

bool images_fetching(const struct images *images, const char *hex)
{
    for (const struct job *job = images->jobs; job; job = job->next) {
        if (strcmp(job->hex, hex) == 0) {
            return true;
        }
    }
    return false;
}

bool images_remove(const struct images *images, const char *hex)
{
    char from[DIR_MAX + 80], to[DIR_MAX + 96];

    (void)snprintf(from, sizeof(from), "%s/%.64s", images->dir, hex);
    (void)snprintf(to, sizeof(to), "%s/%.64s.unused.tmp", images->dir, hex);
    if (rename(from, to) < 0) {
        return false; /* the files of the last time are still being removed */
    }
    remove_tree(images->loop, to);
    return true;
}

static void remove_unfinished(const struct images *images)
{
    DIR *dir = opendir(images->dir);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[DIR_MAX + 300];
        if (sk_str_ends(sk_str(entry->d_name), SK_STR(".tmp"))) {
            (void)snprintf(path, sizeof(path), "%s/%s", images->dir, entry->d_name);
            remove_tree(images->loop, path);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

int images_new(uv_loop_t *loop, const char *dir, struct images **ret, struct sk_err *err)
{
    struct images *images;
    int rc = sys_mkdirs(dir, 0700, err);

    if (rc < 0) {
        return rc;
    }
    images = sk_xcalloc(1, sizeof(*images));
    images->loop = loop;
    (void)snprintf(images->dir, sizeof(images->dir), "%s", dir);
    (void)uv_timer_init(loop, &images->kick);
    images->kick.data = images;
    remove_unfinished(images);
    *ret = images;
    return 0;
}

void images_rootfs(const struct images *images, const char *hex, char *out, size_t size)
{
    (void)snprintf(out, size, "../../images/%s/rootfs", hex);
}

/* ---- the image's own configuration ---- */

static struct argv read_list(const struct sk_node *map, const char *key, struct sk_arena *arena)
{
    const struct sk_node *list = sk_map_seq(map, key);
    struct sk_str *items;
    struct argv ret = {0};

    if (!list || list->count == 0) {
        return ret;
    }
    items = SK_ARENA_ARRAY(arena, struct sk_str, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->u.items[i].kind == SK_STRING) {
            items[ret.count++] = list->u.items[i].u.text;
        }
    }
    ret.items = items;
    return ret;
}

int images_config(const struct images *images, const char *hex, struct sk_arena *arena,
                  struct image_config *ret, struct sk_err *err)
{
    static const struct sk_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 16, .nodes_max = 20000};
    char path[DIR_MAX + 96];
    struct sk_buf buf = SK_BUF_INIT;
    const struct sk_node *root, *config;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s/config.json", images->dir, hex);
    rc = sys_file_read(path, 1 << 20, &buf, err);
    rc = rc < 0 ? rc
                : sk_json_read(arena, "image configuration", sk_buf_str(&buf), &limits, &root, err);
    sk_buf_release(&buf);
    if (rc < 0) {
        return rc;
    }
    memset(ret, 0, sizeof(*ret));
    config = root->kind == SK_MAP ? sk_map_get(root, SK_STR("config")) : NULL;
    if (!config || config->kind != SK_MAP) {
        return 0; /* an image without any defaults */
    }
    ret->entrypoint = read_list(config, "Entrypoint", arena);
    ret->command = read_list(config, "Cmd", arena);
    ret->environment = read_list(config, "Env", arena);
    ret->user = sk_map_str(config, "User", SK_STR(""));
    ret->working_dir = sk_map_str(config, "WorkingDir", SK_STR(""));
    ret->stop_signal = sk_map_str(config, "StopSignal", SK_STR(""));
    return 0;
}

/* ---- for apply ---- */

struct resolving {
    agent_resolved_fn *done;
    void *ctx;
    struct sk_arena *arena;
    struct sk_str ref;
};

static void on_resolved(void *ctx, const struct sk_proc_result *result)
{
    struct resolving *r = ctx;
    struct sk_err err = {0};
    char hex[65], digest[80] = "";
    struct sk_str ref = r->ref;

    if (digest_of(result, hex, &err) < 0) {
        (void)sk_err_wrap(&err, "image '%.*s'", SK_PRI(ref));
    } else {
        (void)snprintf(digest, sizeof(digest), "sha256:%s", hex);
    }
    r->done(r->ctx, digest, err.code == SK_OK ? NULL : &err);
    sk_arena_free(r->arena);
    free(r);
}

int agent_resolve_image(uv_loop_t *loop, struct sk_str ref, agent_resolved_fn *done, void *ctx,
                        struct sk_err *err)
{
    struct resolving *r = sk_xcalloc(1, sizeof(*r));
    struct sk_proc_spec spec = {.timeout_ms = 30000, .out_max = MANIFEST_MAX};
    const char *argv[6];
    struct sk_str source;
    bool insecure;
    int rc;

    r->arena = sk_arena_new();
    r->ref = sk_arena_str(r->arena, ref);
    r->done = done;
    r->ctx = ctx;
    rc = image_source(ref, SK_STR(""), r->arena, &source, &insecure, err);
    if (rc == 0) {
        (void)inspect_argv(source.ptr, insecure, argv);
        spec.argv = argv;
        rc = sk_proc_start(loop, &spec, on_resolved, r, NULL, err);
    }
    if (rc < 0) {
        sk_arena_free(r->arena);
        free(r);
    }
    return rc;
}
