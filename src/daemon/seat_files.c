/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "daemon/seat.h"
#include "sys/clock.h"
#include "sys/file.h"

/* What a control node has in its folder beside its state: the secrets, and what is made of them. */

#define SECRET_BYTES_MAX 16384
#define KEY_BYTES 32
#define DEPTH_MAX 8

/* Beside the vault, by the names that they have within the folder. */
static const char *const open_files[] = {"ca.pem", "etcd-ca.pem", "unseal.key"};
/* The operator's own etcd: these instead of an authority. */
static const char *const external_files[] = {"ca.pem", "etcd/ca.pem", "etcd/member.pem",
                                             "etcd/member.key", "unseal.key"};
#define PEER_KEY "peer.key"
#define ETCD_CA_KEY "etcd-ca.key"

static size_t names_of(bool external, const char *const **ret)
{
    *ret = external ? external_files : open_files;
    return external ? SK_ARRAY_LEN(external_files) : SK_ARRAY_LEN(open_files);
}

static void path_of(char *out, size_t size, const char *dir, const char *name)
{
    (void)snprintf(out, size, "%s/%s", dir, name);
}

static void wipe(struct sk_buf *buf)
{
    if (buf->ptr) {
        explicit_bzero(buf->ptr, buf->cap);
    }
    sk_buf_release(buf);
}

/* ---- what the cluster may still lack ---- */

static bool has_secret(const struct vault *vault, const char *name)
{
    struct sk_buf text = SK_BUF_INIT;
    bool has = vault_get(vault, name, &text, NULL) == 0;

    seal_wipe(&text);
    return has;
}

static int make_peer_key(struct vault *vault, struct sk_err *err)
{
    uint8_t key[KEY_BYTES];
    char hex[2 * KEY_BYTES + 1];
    int r = 0;

    if (!has_secret(vault, PEER_KEY)) {
        sys_random(key, sizeof(key));
        sk_hex(key, sizeof(key), hex);
        r = vault_put(vault, PEER_KEY, sk_str(hex), err);
        explicit_bzero(key, sizeof(key));
        explicit_bzero(hex, sizeof(hex));
    }
    return r;
}

static int make_etcd_ca(struct vault *vault, const char *dir, const char *cluster,
                        struct sk_err *err)
{
    struct net_ca *ca = NULL;
    struct sk_buf key = SK_BUF_INIT;
    char path[600];
    int r;

    path_of(path, sizeof(path), dir, "etcd-ca.pem");
    if (access(path, F_OK) == 0 && has_secret(vault, ETCD_CA_KEY)) {
        return 0;
    }
    r = net_ca_new(cluster, sys_wall_ms(), &ca, err);
    r = r < 0 ? r : net_ca_key(ca, &key, err);
    r = r < 0 ? r : vault_put(vault, ETCD_CA_KEY, sk_buf_str(&key), err);
    r = r < 0 ? r : sys_file_write(path, sk_str(net_ca_pem(ca)), 0600, err);
    net_pem_wipe(&key);
    net_ca_free(ca);
    return r;
}

int seat_secrets_write(struct vault *vault, const char *control_dir, const char *cluster,
                       bool external, struct sk_buf *out, struct sk_err *err)
{
    struct sk_buf sealed = SK_BUF_INIT;
    const char *const *names;
    size_t count = names_of(external, &names);
    struct sk_jw w;
    int r = make_peer_key(vault, err);

    if (r == 0 && !external) {
        r = make_etcd_ca(vault, control_dir, cluster, err);
    }
    r = r < 0 ? r : vault_export(control_dir, &sealed, err);
    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kstr(&w, "vault", sk_buf_str(&sealed));
    sk_buf_release(&sealed);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct sk_buf text = SK_BUF_INIT;
        char path[600];
        if (strcmp(names[i], "unseal.key") == 0) {
            struct sk_buf key = SK_BUF_INIT;
            r = vault_key(vault, &key, err);
            sk_jw_kstr(&w, names[i], sk_buf_str(&key));
            seal_wipe(&key);
            continue;
        }
        path_of(path, sizeof(path), control_dir, names[i]);
        if (external && strncmp(names[i], "etcd/", 5) == 0 && access(path, F_OK) != 0) {
            (void)snprintf(path, sizeof(path), "%s/external/%s", control_dir, names[i] + 5);
        }
        r = sys_file_read(path, SECRET_BYTES_MAX, &text, err);
        if (r == 0) {
            sk_jw_kstr(&w, names[i], sk_buf_str(&text));
        }
        wipe(&text);
    }
    sk_jw_obj_end(&w);
    return r;
}

int seat_external_keep(const char *control_dir, const struct sk_str pems[3], struct sk_err *err)
{
    static const char *const names[] = {"ca.pem", "member.pem", "member.key"};
    char path[600];
    int r;

    path_of(path, sizeof(path), control_dir, "external");
    r = sys_mkdirs(path, 0700, err);
    for (size_t i = 0; i < SK_ARRAY_LEN(names) && r == 0; i++) {
        (void)snprintf(path, sizeof(path), "%s/external/%s", control_dir, names[i]);
        r = sys_file_write(path, pems[i], 0600, err);
    }
    return r;
}

void seat_external_drop(const char *control_dir)
{
    static const char *const names[] = {"/ca.pem", "/member.pem", "/member.key", ""};
    char path[600];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/external%s", control_dir, names[i]);
        (void)remove(path); /* the next try writes over what is left */
    }
}

/* ---- taking them ---- */

static int take_one(const char *dir, const char *name, struct sk_str text, struct sk_err *err)
{
    struct sk_buf old = SK_BUF_INIT;
    char path[600];
    bool same;

    path_of(path, sizeof(path), dir, name);
    same =
        sys_file_read(path, SECRET_BYTES_MAX, &old, NULL) == 0 && sk_str_eq(sk_buf_str(&old), text);
    wipe(&old);
    return same ? 0 : sys_file_write(path, text, 0600, err);
}

int seat_secrets_take(const char *control_dir, const struct sk_node *frame, bool external,
                      struct sk_err *err)
{
    const struct sk_node *map = sk_map_get(frame, SK_STR("secrets"));
    const char *const *names;
    size_t count = names_of(external, &names);
    bool has_vault;
    char path[600];

    if (!map || map->kind != SK_MAP) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "control frame: 'secrets' is missing");
    }
    path_of(path, sizeof(path), control_dir, "unseal.key");
    has_vault = access(path, F_OK) == 0;
    path_of(path, sizeof(path), control_dir, "share.json");
    has_vault = has_vault || access(path, F_OK) == 0;
    for (size_t i = 0; i < count; i++) {
        struct sk_str text = sk_map_str(map, names[i], SK_STR(""));
        if (text.len == 0 || text.len > SECRET_BYTES_MAX) {
            return sk_err_set(err, SK_ERR_PROTOCOL, "control frame: secret '%s' is missing",
                              names[i]);
        }
    }
    path_of(path, sizeof(path), control_dir, "etcd");
    if (sys_mkdirs(control_dir, 0700, err) < 0 || sys_mkdirs(path, 0700, err) < 0 ||
        (!has_vault && vault_import(control_dir, sk_map_str(map, "vault", SK_STR("")), err) < 0)) {
        return err->code;
    }
    for (size_t i = 0; i < count; i++) { /* the key last: with it they are whole */
        if ((!has_vault || strncmp(names[i], "etcd/", 5) == 0) &&
            take_one(control_dir, names[i], sk_map_str(map, names[i], SK_STR("")), err) < 0) {
            return err->code;
        }
    }
    return 0;
}

/* ---- etcd's certificate ---- */

static bool still_good(const char *path, int64_t now_ms)
{
    struct sk_buf pem = SK_BUF_INIT;
    struct net_cert_info info;
    bool good = sys_file_read(path, SECRET_BYTES_MAX, &pem, NULL) == 0 &&
                net_cert_read(sk_buf_str(&pem), &info, NULL) == 0 &&
                net_cert_renew_at_ms(&info) > now_ms;

    sk_buf_release(&pem);
    return good;
}

static int issue(const struct net_ca *ca, const char *dir, const char *node, const char *address,
                 struct sk_err *err)
{
    const char *names[] = {address, "localhost"};
    struct net_issue what = {.kind = NET_CERT_NODE,
                             .node = node,
                             .names = names,
                             .nnames = SK_ARRAY_LEN(names),
                             .wall_ms = sys_wall_ms()};
    struct sk_buf key = SK_BUF_INIT, csr = SK_BUF_INIT, cert = SK_BUF_INIT;
    char key_path[600], cert_path[600], ca_path[600];
    int r;

    path_of(key_path, sizeof(key_path), dir, "etcd/member.key");
    path_of(cert_path, sizeof(cert_path), dir, "etcd/member.pem");
    path_of(ca_path, sizeof(ca_path), dir, "etcd/ca.pem");
    r = sys_file_read(key_path, SECRET_BYTES_MAX, &key, err); /* kept: two files cannot change at
                                                                  once */
    if (r == SK_ERR_NOT_FOUND) {
        r = net_key_new(&key, err);
        r = r < 0 ? r : sys_file_write(key_path, sk_buf_str(&key), 0600, err);
    }
    r = r < 0 ? r : net_csr_new(sk_buf_str(&key), node, &csr, err);
    r = r < 0 ? r : net_ca_issue(ca, sk_buf_str(&csr), &what, &cert, NULL, err);
    r = r < 0 ? r : sys_file_write(ca_path, sk_str(net_ca_pem(ca)), 0600, err);
    r = r < 0 ? r : sys_file_write(cert_path, sk_buf_str(&cert), 0600, err);
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
    return r;
}

static int load_etcd_ca(const struct vault *vault, const char *dir, struct net_ca **ret,
                        struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT, pem = SK_BUF_INIT;
    char path[600];
    int r;

    path_of(path, sizeof(path), dir, "etcd-ca.pem");
    r = vault_get(vault, ETCD_CA_KEY, &key, err);
    r = r < 0 ? r : sys_file_read(path, SECRET_BYTES_MAX, &pem, err);
    r = r < 0 ? r : net_ca_read(sk_buf_str(&key), sk_buf_str(&pem), ret, err);
    seal_wipe(&key);
    sk_buf_release(&pem);
    return r;
}

int seat_certificate(const struct vault *vault, const char *control_dir,
                     const struct daemon_config *config, struct sk_err *err)
{
    struct vault *own = NULL;
    struct net_ca *ca = NULL;
    char path[600];
    int r;

    path_of(path, sizeof(path), control_dir, "etcd/member.pem");
    if (still_good(path, sys_wall_ms())) {
        return 0;
    }
    path_of(path, sizeof(path), control_dir, "etcd");
    r = sys_mkdirs(path, 0700, err);
    if (r == 0 && !vault) {
        r = vault_load(control_dir, config->cluster, &own, err);
    }
    r = r < 0 ? r : load_etcd_ca(vault ? vault : own, control_dir, &ca, err);
    r = r < 0 ? r : issue(ca, control_dir, config->node, config->address, err);
    net_ca_free(ca);
    vault_free(own);
    return r;
}

/* ---- the end ---- */

/* What is in the folder, and it; links are removed, not followed. */
static int remove_tree(int at, const char *name, unsigned depth, struct sk_err *err)
{
    struct dirent *entry;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    int r = 0;

    if (!list) {
        int errnum = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return errnum == ENOENT ? 0 : sk_err_errno(err, errnum, "remove '%s'", name);
    }
    while (r == 0 && (entry = readdir(list))) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
            depth < DEPTH_MAX) {
            r = remove_tree(fd, entry->d_name, depth + 1, err);
        } else if (unlinkat(fd, entry->d_name, 0) != 0 && errno != ENOENT) {
            r = sk_err_errno(err, errno, "remove '%s'", entry->d_name);
        }
    }
    (void)closedir(list);
    if (r == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        r = sk_err_errno(err, errno, "remove '%s'", name);
    }
    return r;
}

static bool stays(const char *name)
{
    return strcmp(name, "etcd") != 0 && strcmp(name, "external") != 0;
}

int seat_wipe(const char *control_dir, bool control_stays, struct sk_err *err)
{
    int fd = open(control_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    int r = 0;

    if (!list) {
        int errnum = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return errnum == ENOENT ? 0 : sk_err_errno(err, errnum, "open '%s'", control_dir);
    }
    while (r == 0 && (entry = readdir(list))) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (control_stays && stays(entry->d_name))) {
            continue;
        }
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
            r = remove_tree(fd, entry->d_name, 1, err);
        } else if (unlinkat(fd, entry->d_name, 0) != 0 && errno != ENOENT) {
            r = sk_err_errno(err, errno, "remove '%s'", entry->d_name);
        }
    }
    (void)closedir(list);
    return r;
}
