/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/supervise.h"
#include "sys/file.h"

void folders_name(const char *dir, struct folders *ret)
{
    (void)snprintf(ret->identity, sizeof(ret->identity), "%s/identity", dir);
    (void)snprintf(ret->control, sizeof(ret->control), "%s/control", dir);
    (void)snprintf(ret->agent, sizeof(ret->agent), "%s/agent", dir);
    (void)snprintf(ret->run, sizeof(ret->run), "%s/run", dir);
    (void)snprintf(ret->ingress, sizeof(ret->ingress), "%s/ingress", dir);
}

/* What is there and cannot be read is not ours to overwrite either. */
int folders_refuse_server(const char *dir, struct sk_err *err)
{
    struct daemon_config old;
    struct sk_err why = {0};
    int r = daemon_config_load(dir, &old, &why);

    if (r == SK_ERR_NOT_FOUND) {
        return 0;
    }
    if (r == 0) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds server '%s' of cluster '%s' already",
                         dir, old.node, old.cluster);
    } else {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds a server that cannot be read: %s", dir,
                         why.msg);
    }
    (void)sk_err_fix(
        err, "give another folder by --data, or remove this one when that server is gone for good");
    return SK_ERR_CONFLICT;
}

/* A cluster's state without a node.json: its CA must not be written over before that shows. */
int folders_refuse_state(const struct folders *f, struct sk_err *err)
{
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/state.db", f->control);
    if (access(path, F_OK) != 0) {
        return 0;
    }
    (void)sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds the state of another cluster", f->control);
    (void)sk_err_fix(err, "remove that folder if it is left from an init that was cut short");
    return SK_ERR_CONFLICT;
}

int folders_make(const struct daemon_config *config, const struct folders *f, bool control,
                 struct sk_err *err)
{
    if (sys_mkdirs(config->dir, 0755, err) < 0 || sys_mkdirs(f->identity, 0700, err) < 0 ||
        sys_mkdirs(f->agent, 0700, err) < 0 || sys_mkdirs(f->run, 0755, err) < 0 ||
        sys_mkdirs(f->ingress, 0700, err) < 0) {
        return err ? err->code : SK_ERR_IO;
    }
    return control ? sys_mkdirs(f->control, 0700, err) : 0;
}

static int give_folder(const char *dir, unsigned uid, unsigned gid, struct sk_err *err)
{
    DIR *list = opendir(dir);
    struct dirent *entry;
    int r = 0;

    if (!list) {
        return sk_err_errno(err, errno, "open '%s'", dir);
    }
    if (fchown(dirfd(list), uid, gid) != 0) {
        r = sk_err_errno(err, errno, "give '%s' to the daemon's user", dir);
    }
    while (r == 0 && (entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            fchownat(dirfd(list), entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0) {
            r = sk_err_errno(err, errno, "give '%s/%s' to the daemon's user", dir, entry->d_name);
        }
    }
    (void)closedir(list);
    return r;
}

int folders_give(const struct daemon_config *config, const struct folders *f, bool control,
                 struct sk_err *err)
{
    unsigned uid, gid;

    if (geteuid() != 0) {
        return 0;
    }
    if (daemon_user(config->user, &uid, &gid, err) < 0 ||
        give_folder(f->identity, uid, gid, err) < 0 || give_folder(f->run, uid, gid, err) < 0 ||
        give_folder(f->ingress, uid, gid, err) < 0 ||
        (control && give_folder(f->control, uid, gid, err) < 0)) {
        return err->code;
    }
    return 0;
}
