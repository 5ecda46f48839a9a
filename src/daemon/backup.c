/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "daemon/backup_files.h"
#include "daemon/folders.h"
#include "daemon/state.h"
#include "daemon/vault.h"
#include "net/seal_file.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/file.h"

struct backup {
    char dir[400];
    struct seal_writer *writer;
    struct sk_buf head; /* JSON */
    struct sk_buf out;  /* made, and not yet read */
    size_t at;          /* of backup_files; then the state, then the end */
    int state_fd;       /* the snapshot: it has no name any more */
    int64_t state_left;
    bool ended;
};

struct sk_str backup_head(const struct backup *backup)
{
    return sk_buf_str(&backup->head);
}

void backup_free(struct backup *backup)
{
    if (backup) {
        seal_writer_free(backup->writer);
        sk_buf_release(&backup->head);
        sk_buf_release(&backup->out);
        if (backup->state_fd >= 0) {
            (void)close(backup->state_fd);
        }
        free(backup);
    }
}

/* ---- what it begins with ---- */

static int take_snapshot(struct backup *backup, const struct folders *f,
                         struct store_revision *ret_revision, struct sk_err *err)
{
    struct store *store = NULL;
    struct state_form form;
    char path[640];
    struct stat st;
    int r = state_form_read(f->control, &form, err);

    r = r < 0 ? r : state_form_open(f->control, &form, 0, &store, err);

    (void)snprintf(path, sizeof(path), "%s/snapshot.%d.%lld", f->control, (int)getpid(),
                   (long long)sys_now_us());
    r = r < 0 ? r : store_revision(store, ret_revision, err); /* the snapshot has at least it */
    r = r < 0 ? r : store_snapshot(store, path, err);
    store_close(store);
    if (r < 0) {
        (void)unlink(path); /* what was begun of it */
        return r;
    }
    backup->state_fd = open(path, O_RDONLY | O_CLOEXEC);
    r = backup->state_fd < 0 || fstat(backup->state_fd, &st) < 0
            ? sk_err_errno(err, errno, "read the snapshot '%s'", path)
            : 0;
    (void)unlink(path);
    if (r == 0) {
        backup->state_left = st.st_size;
    }
    return r;
}

static void write_head(struct backup *backup, const struct daemon_config *config,
                       const struct store_revision *revision)
{
    struct sk_jw w;

    sk_jw_init(&w, &backup->head);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "what", "backup");
    sk_jw_kcstr(&w, "cluster", config->cluster);
    sk_jw_kcstr(&w, "node", config->node);
    sk_jw_kint(&w, "wall_ms", sys_wall_ms());
    sk_jw_kcstr(&w, "version", SKERRY_VERSION);
    sk_jw_kcstr(&w, "store", revision->id);
    sk_jw_kint(&w, "revision", revision->number);
    sk_jw_obj_end(&w);
}

int backup_new(const char *dir, struct backup **ret, struct sk_err *err)
{
    struct backup *backup = sk_xcalloc(1, sizeof(*backup));
    struct store_revision revision = {0};
    struct vault_recovery recovery;
    struct daemon_config config;
    struct folders f;
    int r = daemon_config_load(dir, &config, err);

    backup->state_fd = -1;
    (void)snprintf(backup->dir, sizeof(backup->dir), "%s", dir);
    folders_name(dir, &f);
    if (r == 0 && !config.is_control) {
        (void)sk_err_set(err, SK_ERR_INPUT, "server '%s' holds no state of the cluster",
                         config.node);
        r = sk_err_fix(err, "back up a control node; 'skerry status' names it");
    }
    r = r < 0 ? r : vault_recovery(f.control, &recovery, err);
    r = r < 0 ? r : take_snapshot(backup, &f, &revision, err);
    if (r < 0) {
        backup_free(backup);
        return r;
    }
    write_head(backup, &config, &revision);
    backup->writer = seal_writer_new(recovery.public_key, sk_buf_str(&backup->head), &backup->out);
    *ret = backup;
    return 0;
}

/* ---- the rest of it, bit by bit ---- */

static int add_file(struct backup *backup, const struct backup_file *file, struct sk_err *err)
{
    struct sk_buf bytes = SK_BUF_INIT, line = SK_BUF_INIT;
    struct sk_err why = {0};
    char path[640];
    int r;

    (void)snprintf(path, sizeof(path), "%s/%s", backup->dir, file->name);
    r = sys_file_read(path, BACKUP_FILE_BYTES_MAX, &bytes, &why);
    if (r == 0) {
        backup_entry_write(file->name, file->mode, (int64_t)bytes.len, &line);
        seal_writer_add(backup->writer, sk_buf_str(&line), &backup->out);
        seal_writer_add(backup->writer, sk_buf_str(&bytes), &backup->out);
    }
    seal_wipe(&bytes);
    sk_buf_release(&line);
    if (r == SK_ERR_NOT_FOUND && file->optional) {
        return 0;
    }
    if (r < 0) {
        *err = why;
    }
    return r;
}

static int add_state(struct backup *backup, struct sk_err *err)
{
    char bytes[SEAL_CHUNK_BYTES];
    size_t want =
        backup->state_left < (int64_t)sizeof(bytes) ? (size_t)backup->state_left : sizeof(bytes);
    ssize_t n = read(backup->state_fd, bytes, want);

    if (n <= 0) {
        return sk_err_errno(err, n < 0 ? errno : EIO, "read the snapshot of the state");
    }
    seal_writer_add(backup->writer, (struct sk_str){bytes, (size_t)n}, &backup->out);
    backup->state_left -= n;
    explicit_bzero(bytes, sizeof(bytes));
    return 0;
}

static int make_more(struct backup *backup, struct sk_err *err)
{
    struct sk_buf line = SK_BUF_INIT;
    int r = 0;

    if (backup->at < backup_nfiles) {
        return add_file(backup, &backup_files[backup->at++], err);
    }
    if (backup->at == backup_nfiles) {
        backup->at++;
        backup_entry_write(BACKUP_STATE, 0600, backup->state_left, &line);
        seal_writer_add(backup->writer, sk_buf_str(&line), &backup->out);
    } else if (backup->state_left) {
        r = add_state(backup, err);
    } else {
        backup_end_write(&line);
        seal_writer_add(backup->writer, sk_buf_str(&line), &backup->out);
        seal_writer_end(backup->writer, &backup->out);
        backup->ended = true;
    }
    sk_buf_release(&line);
    return r;
}

ssize_t backup_read(struct backup *backup, char *buf, size_t max, struct sk_err *err)
{
    size_t n;

    while (backup->out.len == 0 && !backup->ended) {
        int r = make_more(backup, err);
        if (r < 0) {
            return r;
        }
    }
    n = backup->out.len < max ? backup->out.len : max;
    if (n) {
        memcpy(buf, backup->out.ptr, n);
        sk_buf_consume(&backup->out, n);
    }
    return (ssize_t)n;
}
