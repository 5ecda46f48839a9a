/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "control/control.h"
#include "daemon/supervise.h"
#include "daemon/vault.h"
#include "net/address.h"
#include "net/enrol.h"
#include "net/identity.h"
#include "net/token.h"
#include "store/store.h"
#include "sys/clock.h"
#include "sys/file.h"

#define PROBE_KEY_BYTES 32
#define JOIN_TIMEOUT_MS 30000

struct folders {
    char identity[512], control[512], agent[512], run[512], ingress[512];
};

static void name_folders(const char *dir, struct folders *ret)
{
    (void)snprintf(ret->identity, sizeof(ret->identity), "%s/identity", dir);
    (void)snprintf(ret->control, sizeof(ret->control), "%s/control", dir);
    (void)snprintf(ret->agent, sizeof(ret->agent), "%s/agent", dir);
    (void)snprintf(ret->run, sizeof(ret->run), "%s/run", dir);
    (void)snprintf(ret->ingress, sizeof(ret->ingress), "%s/ingress", dir);
}

/* What is there and cannot be read is not ours to overwrite either. */
static int refuse_second(const char *dir, struct sk_err *err)
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
static int refuse_state(const struct folders *f, struct sk_err *err)
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

static int make_folders(const struct daemon_config *config, const struct folders *f, bool control,
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

/* What skerryd reads and writes belongs to its own user; the agent's folder stays root's. */
static int give_to_user(const struct daemon_config *config, const struct folders *f, bool control,
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

static void new_incarnation(struct daemon_config *config)
{
    uint8_t bytes[16];

    sys_random(bytes, sizeof(bytes));
    sk_hex(bytes, sizeof(bytes), config->incarnation);
}

static int fill_facts(struct daemon_setup *setup, struct daemon_facts *facts, struct sk_err *err)
{
    struct daemon_config *config = &setup->config;
    struct sockaddr_storage numeric;

    if (daemon_facts_detect(config->dir, facts, err) < 0) {
        return err ? err->code : SK_ERR_IO;
    }
    facts->cpus_nano = setup->cpus_nano ? setup->cpus_nano : facts->cpus_nano;
    facts->memory_bytes = setup->memory_bytes ? setup->memory_bytes : facts->memory_bytes;
    facts->disk_bytes = setup->disk_bytes ? setup->disk_bytes : facts->disk_bytes;
    if (!config->node[0]) {
        (void)snprintf(config->node, sizeof(config->node), "%s", facts->hostname);
    }
    if (!config->address[0]) {
        (void)snprintf(config->address, sizeof(config->address), "%s", facts->address);
    }
    if (!sk_str_is_label(sk_str(config->node))) {
        (void)sk_err_set(err, SK_ERR_USAGE, "'%s' is no name for a node", config->node);
        return sk_err_fix(err, "give one of [a-z0-9-] by --node");
    }
    if (!config->address[0]) {
        (void)sk_err_set(err, SK_ERR_USAGE, "this machine has no address but loopback");
        return sk_err_fix(err, "give the address at which other servers reach it by --address");
    }
    if (net_address_parse(sk_str(config->address), config->channel_port, &numeric, NULL) < 0) {
        (void)sk_err_set(err, SK_ERR_USAGE, "--address: '%s' is no IP address", config->address);
        return sk_err_fix(
            err, "other servers probe this one and route to it: give the address, not a name");
    }
    return 0;
}

static int make_probe_key(struct vault *vault, struct sk_err *err)
{
    uint8_t key[PROBE_KEY_BYTES];
    char hex[2 * PROBE_KEY_BYTES + 1];
    int r;

    sys_random(key, sizeof(key));
    sk_hex(key, sizeof(key), hex);
    r = vault_put(vault, VAULT_PROBE_KEY, sk_str(hex), err);
    explicit_bzero(key, sizeof(key));
    explicit_bzero(hex, sizeof(hex));
    return r;
}

/* The authority's key sealed, its certificate beside it. */
static int keep_ca(const struct net_ca *ca, struct vault *vault, const char *dir,
                   struct sk_err *err)
{
    struct sk_buf key = SK_BUF_INIT;
    char path[1024];
    int r = net_ca_key(ca, &key, err);

    (void)snprintf(path, sizeof(path), "%s/ca.pem", dir);
    r = r < 0 ? r : vault_put(vault, VAULT_CA_KEY, sk_buf_str(&key), err);
    r = r < 0 ? r : sys_file_write(path, sk_str(net_ca_pem(ca)), 0644, err);
    net_pem_wipe(&key);
    return r;
}

/* A CA, and this node's own certificate from it. */
static int make_identity(const struct daemon_setup *setup, const struct folders *f,
                         struct vault *vault, struct net_cert_info *ret_info, struct sk_err *err)
{
    struct net_ca *ca = NULL;
    struct net_identity id = {0};
    struct sk_buf key = SK_BUF_INIT, csr = SK_BUF_INIT, cert = SK_BUF_INIT;
    const char *names[] = {setup->config.address};
    struct net_issue issue = {.kind = NET_CERT_CONTROL,
                              .node = setup->config.node,
                              .names = names,
                              .nnames = 1,
                              .wall_ms = sys_wall_ms()};
    int r = net_ca_new(setup->cluster, issue.wall_ms, &ca, err);

    r = r < 0 ? r : keep_ca(ca, vault, f->control, err);
    r = r < 0 ? r : net_key_new(&key, err);
    r = r < 0 ? r : net_csr_new(sk_buf_str(&key), setup->config.node, &csr, err);
    r = r < 0 ? r : net_ca_issue(ca, sk_buf_str(&csr), &issue, &cert, ret_info, err);
    r = r < 0 ? r
              : net_identity_make(sk_buf_str(&key), sk_buf_str(&cert), sk_str(net_ca_pem(ca)), &id,
                                  err);
    r = r < 0 ? r : net_identity_save(&id, f->identity, err);
    net_identity_release(&id);
    net_pem_wipe(&key);
    sk_buf_release(&csr);
    sk_buf_release(&cert);
    net_ca_free(ca);
    return r;
}

/* Control chose the prefix of the node's instances: it is in the node's own record. */
static int take_prefix(struct daemon_config *config, const struct control_txn *txn,
                       struct sk_err *err)
{
    char key[128];
    int r = sk_err_set(err, SK_ERR_INTERNAL, "the first records hold no node '%s'", config->node);

    (void)snprintf(key, sizeof(key), "/skerry/v1/nodes/%s", config->node);
    for (size_t i = 0; i < txn->nops; i++) {
        struct sk_arena *arena = sk_arena_new();
        const struct sk_node *root;
        if (sk_str_is(txn->ops[i].key, key) &&
            sk_json_read(arena, key, txn->ops[i].value, NULL, &root, err) == 0) {
            (void)snprintf(config->prefix, sizeof(config->prefix), "%.*s",
                           SK_PRI(sk_map_str(root, "prefix", SK_STR(""))));
            r = 0;
        }
        sk_arena_free(arena);
    }
    return r;
}

static int write_state(struct daemon_setup *setup, const struct folders *f,
                       const struct daemon_facts *facts, const char *serial, struct sk_err *err)
{
    struct daemon_config *config = &setup->config;
    struct control_init init = {
        .cluster = sk_str(setup->cluster),
        .range = sk_str(setup->range),
        .currency = sk_str(setup->currency),
        .lab = setup->lab,
        .who = SK_STR("init"),
        .site_role = sk_str(setup->role),
        .serial = sk_str(serial),
        .key_hash = SK_STR(""),
        .wall_ms = sys_wall_ms(),
        .first = {.node = sk_str(config->node),
                  .site = sk_str(config->site),
                  .address = sk_str(config->address),
                  .machine_id = sk_str(facts->machine_id),
                  .incarnation = sk_str(config->incarnation),
                  .cpus_nano = facts->cpus_nano,
                  .memory_bytes = facts->memory_bytes,
                  .disk_bytes = facts->disk_bytes},
    };
    struct control_commands commands = {0};
    struct store *store = NULL;
    struct store_op ops[CONTROL_TXN_OPS_MAX];
    struct store_txn txn = {.expect_number = 0, .ops = ops};
    struct store_revision rev;
    int r = control_init_txn(&init, &commands, err);

    if (r == 0) {
        const struct control_txn *first = &commands.items[0].u.txn;
        SK_ASSERT(commands.count == 1 && commands.items[0].kind == CONTROL_CMD_TXN);
        for (size_t i = 0; i < first->nops; i++) {
            ops[i] = (struct store_op){STORE_PUT, first->ops[i].key, first->ops[i].value};
        }
        txn.nops = first->nops;
        r = take_prefix(config, first, err);
    }
    if (r == 0) {
        r = store_open_sqlite(f->control, &store, err);
    }
    r = r < 0 ? r : store_txn(store, &txn, &rev, err);
    if (r == SK_ERR_CONFLICT) {
        (void)sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds the state of another cluster",
                         f->control);
        r = sk_err_fix(err, "remove that folder if it is left from an init that was cut short");
    }
    store_close(store);
    control_commands_release(&commands);
    return r;
}

static int make_secrets(struct daemon_setup *setup, const struct folders *f,
                        struct net_cert_info *ret_info, struct sk_err *err)
{
    struct vault *vault = NULL;
    int r = vault_create(f->control, setup->cluster, &setup->code, &vault, err);

    if (r == SK_ERR_CONFLICT) {
        (void)sk_err_fix(err, "remove that folder if it is left from an init that was cut short");
    }
    r = r < 0 ? r : make_identity(setup, f, vault, ret_info, err);
    r = r < 0 ? r : make_probe_key(vault, err);
    vault_free(vault);
    return r;
}

int daemon_init(struct daemon_setup *setup, struct sk_err *err)
{
    struct daemon_config *config = &setup->config;
    struct net_cert_info info;
    struct daemon_facts facts;
    struct folders f;

    name_folders(config->dir, &f);
    if (refuse_second(config->dir, err) < 0 || refuse_state(&f, err) < 0 ||
        make_folders(config, &f, true, err) < 0 || fill_facts(setup, &facts, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    new_incarnation(config);
    (void)snprintf(config->cluster, sizeof(config->cluster), "%s", setup->cluster);
    (void)snprintf(config->controls[0], sizeof(config->controls[0]), "%s:%u", config->address,
                   config->channel_port);
    config->ncontrols = 1;
    config->is_control = true;
    if (make_secrets(setup, &f, &info, err) < 0 ||
        write_state(setup, &f, &facts, info.serial, err) < 0 ||
        give_to_user(config, &f, true, err) < 0) {
        return err ? err->code : SK_ERR_INTERNAL;
    }
    return daemon_config_save(config, err);
}

int daemon_join(struct daemon_setup *setup, struct sk_err *err)
{
    struct daemon_config *config = &setup->config;
    struct net_join join = {.address = setup->control, .timeout_ms = JOIN_TIMEOUT_MS};
    struct net_joined joined = {0};
    struct net_token token = {0};
    struct daemon_facts facts;
    struct folders f;
    int r;

    name_folders(config->dir, &f);
    if (net_token_parse(setup->token, &token, err) < 0 || refuse_second(config->dir, err) < 0 ||
        make_folders(config, &f, false, err) < 0 || fill_facts(setup, &facts, err) < 0) {
        net_token_wipe(&token);
        return err ? err->code : SK_ERR_INTERNAL;
    }
    new_incarnation(config);
    join.token = &token;
    join.dir = f.identity;
    join.source = strcmp(config->listen, "0.0.0.0") == 0 ? NULL : config->listen;
    join.node = config->node;
    join.site = config->site;
    join.node_address = config->address;
    join.machine_id = facts.machine_id;
    join.incarnation = config->incarnation;
    join.cpus_nano = facts.cpus_nano;
    join.memory_bytes = facts.memory_bytes;
    join.disk_bytes = facts.disk_bytes;
    r = net_join(&join, &joined, err);
    net_token_wipe(&token);
    if (r == 0) {
        (void)snprintf(config->cluster, sizeof(config->cluster), "%s",
                       joined.identity.info.cluster);
        (void)snprintf(config->prefix, sizeof(config->prefix), "%s", joined.prefix);
        (void)snprintf(config->controls[0], sizeof(config->controls[0]), "%s", joined.control);
        config->ncontrols = 1;
        r = give_to_user(config, &f, false, err);
    }
    net_identity_release(&joined.identity);
    return r < 0 ? r : daemon_config_save(config, err);
}

/* ---- backup, restore ---- */

/* What a control node cannot be without, beside its state and node.json. */
static const struct {
    const char *name;
    mode_t mode;
    bool optional;
} kept_files[] = {
    {"control/ca.key.sealed", 0600, false},
    {"control/ca.pem", 0644, false},
    {"control/probe.key.sealed", 0600, false},
    {"control/unseal.key", 0600, false},
    {"control/cluster.key.sealed", 0600, false},
    {"control/recovery.json", 0600, true},
    {"identity/node.key", 0600, false},
    {"identity/node.pem", 0644, false},
    {"identity/ca.pem", 0644, false},
    {"identity/probe.key", 0600, true},
};

static int copy_file(const char *from, const char *to, const char *name, mode_t mode, bool optional,
                     struct sk_err *err)
{
    struct sk_buf bytes = SK_BUF_INIT;
    struct sk_err why = {0};
    char path[1024];
    int r;

    (void)snprintf(path, sizeof(path), "%s/%s", from, name);
    r = sys_file_read(path, 1 << 20, &bytes, &why);
    if (r == SK_ERR_NOT_FOUND && optional) {
        return 0;
    }
    if (r == 0) {
        (void)snprintf(path, sizeof(path), "%s/%s", to, name);
        r = sys_file_write(path, sk_buf_str(&bytes), mode, &why);
    }
    if (bytes.ptr) {
        explicit_bzero(bytes.ptr, bytes.cap);
    }
    sk_buf_release(&bytes);
    if (r < 0 && err) {
        *err = why;
    }
    return r;
}

static int copy_kept(const char *from, const char *to, struct sk_err *err)
{
    for (size_t i = 0; i < SK_ARRAY_LEN(kept_files); i++) {
        if (copy_file(from, to, kept_files[i].name, kept_files[i].mode, kept_files[i].optional,
                      err) < 0) {
            return err->code;
        }
    }
    return 0;
}

int daemon_backup(const char *dir, const char *folder, struct sk_err *err)
{
    struct daemon_config config;
    struct store *store = NULL;
    struct folders from, to;
    char path[1024];
    int r;

    if (daemon_config_load(dir, &config, err) < 0) {
        return err->code;
    }
    if (!config.is_control) {
        (void)sk_err_set(err, SK_ERR_INPUT, "server '%s' holds no state of the cluster",
                         config.node);
        return sk_err_fix(err, "back up the control node; 'skerry status' names it");
    }
    if (access(folder, F_OK) == 0) {
        return sk_err_set(err, SK_ERR_CONFLICT, "'%s' exists already", folder);
    }
    name_folders(dir, &from);
    name_folders(folder, &to);
    if (sys_mkdirs(folder, 0700, err) < 0 || sys_mkdirs(to.control, 0700, err) < 0 ||
        sys_mkdirs(to.identity, 0700, err) < 0 || copy_kept(dir, folder, err) < 0) {
        return err->code;
    }
    (void)snprintf(path, sizeof(path), "%s/state.db", to.control);
    r = store_open_sqlite(from.control, &store, err);
    r = r < 0 ? r : store_snapshot(store, path, err);
    store_close(store);
    return r < 0 ? r : copy_file(dir, folder, "node.json", 0644, false, err);
}

/* A state that was begun and did not become one must not stand in the way of the next try. */
static void drop_state(const struct folders *f)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm"};
    char path[1024];

    for (size_t i = 0; i < SK_ARRAY_LEN(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", f->control, names[i]);
        (void)unlink(path); /* what cannot be removed is named by the next restore */
    }
}

int daemon_restore(const char *dir, const char *folder, struct sk_err *err)
{
    struct daemon_config config;
    struct store *store = NULL;
    struct folders from, to;
    char path[1024];
    int r;

    if (daemon_config_load(folder, &config, err) < 0) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' holds no whole backup: it has no node.json",
                          folder);
    }
    (void)snprintf(config.dir, sizeof(config.dir), "%s", dir);
    name_folders(folder, &from);
    name_folders(dir, &to);
    if (refuse_second(dir, err) < 0 || refuse_state(&to, err) < 0 ||
        make_folders(&config, &to, true, err) < 0 || copy_kept(folder, dir, err) < 0) {
        return err->code;
    }
    (void)snprintf(path, sizeof(path), "%s/state.db", from.control);
    r = store_open_sqlite(to.control, &store, err);
    r = r < 0 ? r : store_restore(store, path, err);
    store_close(store);
    r = r < 0 ? r : give_to_user(&config, &to, true, err);
    r = r < 0 ? r : copy_file(folder, dir, "node.json", 0644, false, err);
    if (r < 0) {
        drop_state(&to);
    }
    return r;
}
