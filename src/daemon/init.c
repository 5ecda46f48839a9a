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
#include "daemon/folders.h"
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

    folders_name(config->dir, &f);
    if (folders_refuse_server(config->dir, err) < 0 || folders_refuse_state(&f, err) < 0 ||
        folders_make(config, &f, true, err) < 0 || fill_facts(setup, &facts, err) < 0) {
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
        folders_give(config, &f, true, err) < 0) {
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

    folders_name(config->dir, &f);
    if (net_token_parse(setup->token, &token, err) < 0 ||
        folders_refuse_server(config->dir, err) < 0 || folders_make(config, &f, false, err) < 0 ||
        fill_facts(setup, &facts, err) < 0) {
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
        r = folders_give(config, &f, false, err);
    }
    net_identity_release(&joined.identity);
    return r < 0 ? r : daemon_config_save(config, err);
}
