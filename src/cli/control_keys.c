/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/client.h"
#include "daemon/backup.h"
#include "daemon/recover.h"
#include "sys/file.h"

#define CALL_TIMEOUT_MS 30000
#define READ_BYTES 65536

/* ---- the code ---- */

static int read_code(const struct cli *cli, struct seal_code *ret, struct sk_err *err)
{
    const char *path = cli_value(cli, "code-file");
    struct sk_buf text = SK_BUF_INIT;
    int r;

    if (path && strcmp(path, "-") == 0) {
        path = NULL;
    }
    if (!path && isatty(STDIN_FILENO)) {
        (void)fprintf(stderr, "recovery code: ");
    }
    r = path ? sys_file_read(path, 4096, &text, err)
             : sys_fd_read(STDIN_FILENO, "standard input", 4096, &text, err);
    r = r < 0 ? r : seal_code_read(sk_buf_str(&text), ret, err);
    seal_wipe(&text);
    return r;
}

/* ---- backup ---- */

/* A file that comes whole or not at all, and in nobody's place. */
struct target {
    const char *path;
    char part[1024];
    int fd;
    int64_t bytes;
    struct sk_err err; /* of a write inside a download */
};

static int target_open(struct target *t, const char *path, struct sk_err *err)
{
    t->path = path;
    t->bytes = 0;
    t->err = (struct sk_err){0};
    if (strlen(path) + sizeof(".part") > sizeof(t->part)) {
        return sk_err_set(err, SK_ERR_USAGE, "the path '%.80s...' is too long", path);
    }
    if (access(path, F_OK) == 0) {
        return sk_err_set(err, SK_ERR_CONFLICT, "'%s' exists already", path);
    }
    (void)snprintf(t->part, sizeof(t->part), "%s.part", path);
    (void)unlink(t->part); /* of a run that was killed */
    t->fd = open(t->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return t->fd < 0 ? sk_err_errno(err, errno, "create '%s'", t->part) : 0;
}

static int target_write(struct target *t, struct sk_str bytes)
{
    t->bytes += (int64_t)bytes.len;
    while (bytes.len) {
        ssize_t n = write(t->fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return sk_err_errno(&t->err, errno, "write '%s'", t->part);
        }
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

/* `r`: whether it is whole. */
static int target_close(struct target *t, int r, struct sk_err *err)
{
    if (r == 0 && fsync(t->fd) < 0) {
        r = sk_err_errno(err, errno, "write '%s'", t->part);
    }
    if (close(t->fd) < 0 && r == 0) {
        r = sk_err_errno(err, errno, "write '%s'", t->part);
    }
    if (r == 0 && link(t->part, t->path) < 0) { /* never over another file */
        r = sk_err_errno(err, errno, "name '%s'", t->path);
    }
    (void)unlink(t->part);
    return r;
}

static bool on_bytes(struct sk_str bytes, void *ctx)
{
    return target_write(ctx, bytes) == 0;
}

static int from_daemon(const struct cli *cli, struct target *t, struct sk_err *err)
{
    struct api_client *client = NULL;
    int r = api_client_new(cli, &client, err);

    r = r < 0 ? r : api_download(client, "/v1/control/backup", on_bytes, t, err);
    api_client_free(client);
    if (t->err.code) {
        *err = t->err;
        r = t->err.code;
    }
    return r;
}

static int from_folder(const struct cli *cli, struct target *t, struct sk_err *err)
{
    sk_autofree char *bytes = sk_xmalloc(READ_BYTES);
    struct backup *backup = NULL;
    ssize_t n = 0;
    int r = backup_new(cli_data_dir(cli), &backup, err);

    while (r == 0 && (n = backup_read(backup, bytes, READ_BYTES, err)) > 0) {
        r = target_write(t, (struct sk_str){bytes, (size_t)n});
        if (r < 0) {
            *err = t->err;
        }
    }
    backup_free(backup);
    return r < 0 ? r : (int)n;
}

static void print_backup(const struct cli *cli, const struct target *t)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    if (cli->json) {
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", "skerry.backup/1");
        sk_jw_kcstr(&w, "file", t->path);
        sk_jw_kint(&w, "bytes", t->bytes);
        sk_jw_obj_end(&w);
        sk_buf_addc(&out, '\n');
    } else {
        sk_buf_printf(&out,
                      "backed up: '%s', %lld bytes; the recovery code alone opens it: keep them "
                      "apart, and both away from these servers\n",
                      t->path, (long long)t->bytes);
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
}

int control_backup(struct cli *cli, struct sk_err *err)
{
    struct target t;
    int r = target_open(&t, cli->args[1], err);

    if (r < 0) {
        return r;
    }
    r = cli_flag(cli, "offline") ? from_folder(cli, &t, err) : from_daemon(cli, &t, err);
    r = target_close(&t, r, err);
    if (r == 0) {
        print_backup(cli, &t);
    }
    return r;
}

/* ---- restore, recover ---- */

static int check_dir(const struct cli *cli, struct sk_err *err)
{
    if (strlen(cli_data_dir(cli)) > 90) {
        return sk_err_set(err, SK_ERR_USAGE,
                          "the data folder's path '%s' is too long for its unix sockets",
                          cli_data_dir(cli));
    }
    return 0;
}

static int check_value(const struct cli *cli, const char *name, size_t max, struct sk_err *err)
{
    const char *value = cli_value(cli, name);

    if (value && strlen(value) > max) {
        return sk_err_set(err, SK_ERR_USAGE, "--%s: longer than %zu bytes", name, max);
    }
    return 0;
}

static void print_server(const struct cli *cli, const char *format,
                         const struct daemon_config *config, const char *text)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    if (cli->json) {
        sk_jw_init(&w, &out);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", format);
        sk_jw_kcstr(&w, "cluster", config->cluster);
        sk_jw_kcstr(&w, "node", config->node);
        sk_jw_kcstr(&w, "address", config->address);
        sk_jw_kcstr(&w, "control", config->controls[0]);
        sk_jw_kcstr(&w, "data", config->dir);
        sk_jw_obj_end(&w);
        sk_buf_addc(&out, '\n');
    } else {
        sk_buf_printf(&out,
                      "node %s of cluster %s %s\n\nstart it:          skerry daemon --data %s\n"
                      "where nodes know control by another address than %s, on each of them:\n"
                      "                   skerry rejoin %s, then restart its daemon (its services "
                      "go on)\n",
                      config->node, config->cluster, text, config->dir, config->controls[0],
                      config->controls[0]);
    }
    cli_write(sk_buf_str(&out));
    sk_buf_release(&out);
}

int control_restore(struct cli *cli, struct sk_err *err)
{
    struct seal_code code;
    struct restore restore = {.dir = cli_data_dir(cli),
                              .file = cli->args[1],
                              .code = &code,
                              .address = cli_value(cli, "address"),
                              .listen = cli_value(cli, "listen")};
    int r = check_dir(cli, err);

    r = r < 0 ? r : check_value(cli, "address", 255, err);
    r = r < 0 ? r : check_value(cli, "listen", 63, err);
    r = r < 0 ? r : read_code(cli, &code, err);
    r = r < 0 ? r : backup_restore(&restore, err);
    explicit_bzero(&code, sizeof(code));
    if (r == 0) {
        print_server(cli, "skerry.restore/1", &restore.node,
                     "is the one control node again; apply what was applied since the backup");
    }
    return r;
}

int control_recover(struct cli *cli, struct sk_err *err)
{
    struct daemon_config config;
    struct seal_code code;
    int r = check_dir(cli, err);

    r = r < 0 ? r : read_code(cli, &code, err);
    r = r < 0 ? r : daemon_recover(cli_data_dir(cli), &code, &config, err);
    explicit_bzero(&code, sizeof(code));
    if (r == 0) {
        print_server(cli, "skerry.recover/1", &config, "has its keys open again");
    }
    return r;
}

/* ---- another code ---- */

int control_recovery(struct cli *cli, struct sk_err *err)
{
    struct api_client *client = NULL;
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *answer = NULL;
    struct sk_buf text = SK_BUF_INIT;
    int r;

    if (strcmp(cli->args[1], "new") != 0) {
        sk_arena_free(arena);
        (void)sk_err_set(err, SK_ERR_USAGE, "'skerry control recovery' knows no '%s'",
                         cli->args[1]);
        return sk_err_fix(err, "skerry control recovery new");
    }
    r = api_client_new(cli, &client, err);
    r = r < 0 ? r
              : api_call(client, "POST", "/v1/control/recovery", SK_STR("{}"), CALL_TIMEOUT_MS,
                         arena, &answer, &text, err);
    if (r == 0 && cli->json) {
        cli_write(sk_buf_str(&text));
    } else if (r == 0) {
        cli_write(sk_map_str(answer, "recovery_code", SK_STR("")));
        cli_write(SK_STR("\n"));
        (void)fprintf(stderr, "write it down and keep it away from these servers; nobody can show "
                              "it again. Backups of before open by the former code alone\n");
    }
    seal_wipe(&text);
    sk_arena_free(arena);
    api_client_free(client);
    return r;
}
