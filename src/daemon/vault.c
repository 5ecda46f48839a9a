/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/vault.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "daemon/vault_files.h"
#include "sys/clock.h"
#include "sys/file.h"

#define OFFERS_MAX SEAL_SHARES_MAX

struct offer {
    char from[SEAL_NAME_SIZE];
    struct seal_share share;
};

struct vault {
    char dir[VAULT_DIR_SIZE];
    char cluster[SEAL_NAME_SIZE];
    uint8_t *key;          /* guarded; NULL while it waits for shares */
    struct seal_share own; /* of the split in force, while it waits */
    struct offer offers[OFFERS_MAX];
    size_t noffers;
};

static struct vault *vault_new(const char *dir, const char *cluster)
{
    struct vault *vault = sk_xcalloc(1, sizeof(*vault));

    SK_ASSERT(sodium_init() >= 0);
    SK_ASSERT(strlen(dir) < sizeof(vault->dir) && strlen(cluster) < sizeof(vault->cluster));
    (void)snprintf(vault->dir, sizeof(vault->dir), "%s", dir);
    (void)snprintf(vault->cluster, sizeof(vault->cluster), "%s", cluster);
    return vault;
}

static void forget_shares(struct vault *vault)
{
    sodium_memzero(&vault->own, sizeof(vault->own));
    sodium_memzero(vault->offers, sizeof(vault->offers));
    vault->noffers = 0;
}

void vault_free(struct vault *vault)
{
    if (vault) {
        sodium_free(vault->key); /* zeroes it */
        forget_shares(vault);
        free(vault);
    }
}

bool vault_is_open(const struct vault *vault)
{
    return vault->key != NULL;
}

/* Takes the key over into guarded pages and wipes the caller's. */
static void take_key(struct vault *vault, uint8_t key[SEAL_KEY_BYTES])
{
    if (!vault->key) {
        vault->key = sodium_malloc(SEAL_KEY_BYTES);
    }
    if (!vault->key) {
        sk_out_of_memory(SEAL_KEY_BYTES);
    }
    memcpy(vault->key, key, SEAL_KEY_BYTES);
    sodium_memzero(key, SEAL_KEY_BYTES);
    forget_shares(vault);
}

static int need_open(const struct vault *vault, struct sk_err *err)
{
    if (!vault->key) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE,
                          "the keys in '%s' wait for the other control nodes' shares", vault->dir);
    }
    return 0;
}

/* ---- secrets ---- */

int vault_get(const struct vault *vault, const char *name, struct sk_buf *ret, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    int r = need_open(vault, err);

    r = r < 0 ? r : vault_file_read(vault->dir, name, ".sealed", &text, err);
    r = r < 0 ? r : seal_get(vault->key, vault->cluster, name, sk_buf_str(&text), ret, err);
    sk_buf_release(&text);
    if (r == SK_ERR_INPUT) {
        return sk_err_set(err, SK_ERR_CORRUPT, "'%s/%s.sealed' is damaged", vault->dir, name);
    }
    return r;
}

int vault_put(struct vault *vault, const char *name, struct sk_str secret, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    int r = need_open(vault, err);

    if (r == 0) {
        seal_put(vault->key, vault->cluster, name, secret, &text);
        r = vault_file_write(vault->dir, name, ".sealed", sk_buf_str(&text), err);
    }
    sk_buf_release(&text);
    return r;
}

static int put_cluster_key(struct vault *vault, struct sk_err *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    char hex[2 * SEAL_KEY_BYTES + 1];
    int r;

    seal_key_new(key);
    sk_hex(key, sizeof(key), hex);
    r = vault_put(vault, VAULT_CLUSTER_KEY, sk_str(hex), err);
    sodium_memzero(key, sizeof(key));
    sodium_memzero(hex, sizeof(hex));
    return r;
}

/* ---- a new one ---- */

static int write_key(const struct vault *vault, struct sk_err *err)
{
    char hex[2 * SEAL_KEY_BYTES + 1];
    int r;

    sk_hex(vault->key, SEAL_KEY_BYTES, hex);
    r = vault_file_write(vault->dir, VAULT_KEY_FILE, "", sk_str(hex), err);
    sodium_memzero(hex, sizeof(hex));
    return r;
}

int vault_key(const struct vault *vault, struct sk_buf *ret_hex, struct sk_err *err)
{
    int r = need_open(vault, err);

    if (r == 0) {
        sk_buf_reserve(ret_hex, 2 * SEAL_KEY_BYTES + 1);
        sk_hex(vault->key, SEAL_KEY_BYTES, ret_hex->ptr + ret_hex->len);
        ret_hex->len += (size_t)2 * SEAL_KEY_BYTES;
    }
    return r;
}

static int new_key(struct vault *vault, struct sk_err *err)
{
    uint8_t key[SEAL_KEY_BYTES];

    seal_key_new(key);
    take_key(vault, key);
    return write_key(vault, err);
}

int vault_create(const char *dir, const char *cluster, struct seal_code *ret_code,
                 struct vault **ret, struct sk_err *err)
{
    struct vault *vault;
    int r;

    if (vault_file_there(dir, VAULT_KEY_FILE) || vault_file_there(dir, VAULT_SHARE_FILE) ||
        vault_file_there(dir, VAULT_RECOVERY_FILE)) {
        return sk_err_set(err, SK_ERR_CONFLICT, "'%s' holds the keys of a cluster", dir);
    }
    vault = vault_new(dir, cluster);
    r = new_key(vault, err);
    r = r < 0 ? r : put_cluster_key(vault, err);
    r = r < 0 ? r : vault_recovery_new(vault, sys_wall_ms(), ret_code, err);
    if (r < 0) {
        vault_free(vault);
        return r;
    }
    *ret = vault;
    return 0;
}

/* ---- the one of a folder ---- */

static int read_key(struct vault *vault, struct sk_err *err)
{
    struct sk_buf hex = SK_BUF_INIT;
    uint8_t key[SEAL_KEY_BYTES];
    int r = vault_file_read(vault->dir, VAULT_KEY_FILE, "", &hex, err);

    if (r == 0 && hex.len && hex.ptr[hex.len - 1] == '\n') {
        hex.len--;
    }
    if (r == 0 && !sk_unhex(sk_buf_str(&hex), key, sizeof(key))) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "'%s/" VAULT_KEY_FILE "' does not hold %d bytes in hex",
                       vault->dir, SEAL_KEY_BYTES);
    }
    if (r == 0) {
        take_key(vault, key);
    }
    seal_wipe(&hex);
    return r;
}

static int read_share(struct vault *vault, struct sk_err *err)
{
    int r = vault_share_read(vault->dir, VAULT_SHARE_FILE, &vault->own, err);

    if (r == 0 && strcmp(vault->own.cluster, vault->cluster) != 0) {
        r = sk_err_set(err, SK_ERR_CORRUPT, "'%s/" VAULT_SHARE_FILE "' is of cluster '%s'",
                       vault->dir, vault->own.cluster);
    }
    return r;
}

/* A secret that lies open, from before there were vaults or put there by hand: sealed, then gone.
 * What is put there by hand is newer than what is sealed. */
static int take_over(struct vault *vault, const char *name, struct sk_err *err)
{
    struct sk_buf secret = SK_BUF_INIT;
    int r = vault_file_read(vault->dir, name, "", &secret, err);

    if (r == SK_ERR_NOT_FOUND) {
        sk_err_clear(err);
        return 0;
    }
    r = r < 0 ? r : vault_put(vault, name, sk_buf_str(&secret), err);
    r = r < 0 ? r : vault_file_remove(vault->dir, name, err);
    seal_wipe(&secret);
    return r;
}

static int take_over_all(struct vault *vault, struct sk_err *err)
{
    for (size_t i = 0; i < vault_nnames; i++) {
        if (take_over(vault, vault_names[i], err) < 0) {
            return err ? err->code : SK_ERR_IO;
        }
    }
    if (!vault_file_there(vault->dir, VAULT_CLUSTER_KEY ".sealed")) {
        return put_cluster_key(vault, err);
    }
    return 0;
}

static int no_key(const struct vault *vault, struct sk_err *err)
{
    (void)sk_err_set(err, SK_ERR_NOT_FOUND, "'%s' holds neither the unseal key nor a share of it",
                     vault->dir);
    (void)sk_err_fix(err, "'skerry control recover' opens the keys by the recovery code");
    return SK_ERR_NOT_FOUND;
}

/* No vault yet: the CA's key lies open, and nothing that a vault would have is there. */
static bool is_old_folder(const char *dir)
{
    return vault_file_there(dir, VAULT_CA_KEY) && !vault_file_there(dir, VAULT_SHARE_FILE) &&
           !vault_file_there(dir, VAULT_RECOVERY_FILE) &&
           !vault_file_there(dir, VAULT_CA_KEY ".sealed");
}

static int load(struct vault *vault, struct sk_err *err)
{
    int r;

    if (vault_file_there(vault->dir, VAULT_KEY_FILE)) {
        r = read_key(vault, err);
        return r < 0 ? r : take_over_all(vault, err);
    }
    if (is_old_folder(vault->dir)) {
        r = new_key(vault, err);
        return r < 0 ? r : take_over_all(vault, err);
    }
    r = read_share(vault, err);
    return r == SK_ERR_NOT_FOUND ? no_key(vault, err) : r;
}

int vault_load(const char *dir, const char *cluster, struct vault **ret, struct sk_err *err)
{
    struct vault *vault = vault_new(dir, cluster);
    struct sk_err why = {0};
    int r = load(vault, &why);

    if (r < 0) {
        vault_free(vault);
        if (err) {
            *err = why;
        }
        return r;
    }
    *ret = vault;
    return 0;
}

/* ---- recovery ---- */

int vault_recovery_new(struct vault *vault, int64_t wall_ms, struct seal_code *ret_code,
                       struct sk_err *err)
{
    struct vault_recovery fresh = {.made_ms = wall_ms}, old;
    struct seal_code code;
    int r = need_open(vault, err);

    if (r < 0) {
        return r;
    }
    if (vault_recovery(vault->dir, &old, NULL) == 0 && old.made_ms >= wall_ms) {
        fresh.made_ms = old.made_ms + 1; /* a clock that was set back */
    }
    seal_code_new(&code);
    seal_code_public(&code, fresh.public_key);
    r = vault_recovery_write(vault->dir, vault->cluster, &fresh, vault->key, err);
    if (r == 0) {
        *ret_code = code;
    }
    sodium_memzero(&code, sizeof(code));
    return r;
}

int vault_recovery_take(struct vault *vault, const struct vault_recovery *other, struct sk_err *err)
{
    struct vault_recovery own;
    struct sk_err why = {0};
    int r = vault_recovery(vault->dir, &own, &why);

    if (r < 0 && r != SK_ERR_NOT_FOUND) {
        *err = why;
        return r;
    }
    if (r == 0 && own.made_ms >= other->made_ms) {
        return 0;
    }
    r = need_open(vault, err);
    return r < 0 ? r : vault_recovery_write(vault->dir, vault->cluster, other, vault->key, err);
}

int vault_recover(const char *dir, const char *cluster, const struct seal_code *code,
                  struct vault **ret, struct sk_err *err)
{
    struct vault *vault = vault_new(dir, cluster);
    struct sk_buf secret = SK_BUF_INIT;
    uint8_t key[SEAL_KEY_BYTES];
    int r = vault_recovery_open(dir, code, key, err);

    if (r == 0) {
        take_key(vault, key);
        r = vault_get(vault, VAULT_CLUSTER_KEY, &secret, err); /* it is the key of these files */
        seal_wipe(&secret);
    }
    if (r < 0) {
        vault_free(vault);
        return r;
    }
    *ret = vault;
    return 0;
}

/* ---- shares ---- */

int vault_split(const struct vault *vault, unsigned count, struct vault_split *ret,
                struct sk_err *err)
{
    struct seal_share shares[SEAL_SHARES_MAX];
    int r = need_open(vault, err);

    r = r < 0 ? r : seal_split(vault->key, vault->cluster, count, count / 2 + 1, shares, err);
    if (r < 0) {
        return r;
    }
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->generation, shares[0].generation, sizeof(ret->generation));
    ret->count = count;
    for (unsigned i = 0; i < count; i++) {
        seal_share_write(&shares[i], &ret->shares[i]);
    }
    sodium_memzero(shares, sizeof(shares));
    return 0;
}

void vault_split_release(struct vault_split *split)
{
    for (unsigned i = 0; i < split->count; i++) {
        seal_wipe(&split->shares[i]);
    }
    split->count = 0;
}

/* Whose secret is split among whom: beside the share's own members, which the readers of shares
 * leave alone. */
static void write_own(const struct vault_split *split, const char *const *members,
                      struct sk_buf *out)
{
    struct sk_jw w;
    struct sk_str share = sk_buf_str(&split->shares[0]);

    SK_ASSERT(share.len > 2 && share.ptr[share.len - 1] == '}');
    sk_buf_add(out, share.ptr, share.len - 1);
    sk_buf_adds(out, ",\"members\":");
    sk_jw_init(&w, out);
    sk_jw_arr(&w);
    for (unsigned i = 0; i < split->count; i++) {
        sk_jw_cstr(&w, members[i]);
    }
    sk_jw_arr_end(&w);
    sk_buf_addc(out, '}');
}

int vault_split_commit(struct vault *vault, const struct vault_split *split,
                       const char *const *members, struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    int r = need_open(vault, err);

    if (r == 0) {
        write_own(split, members, &text);
        r = vault_file_write(vault->dir, VAULT_SHARE_FILE, "", sk_buf_str(&text), err);
    }
    /* the share is in force: now, and not before, the key may go */
    r = r < 0 ? r : vault_file_remove(vault->dir, VAULT_KEY_FILE, err);
    seal_wipe(&text);
    return r;
}

bool vault_is_split(const struct vault *vault)
{
    return !vault_file_there(vault->dir, VAULT_KEY_FILE) &&
           vault_file_there(vault->dir, VAULT_SHARE_FILE);
}

bool vault_split_counts(const struct vault *vault, unsigned *ret_shares, unsigned *ret_needed)
{
    struct seal_share share;
    bool found =
        vault_is_split(vault) && vault_share_read(vault->dir, VAULT_SHARE_FILE, &share, NULL) == 0;

    if (found) {
        *ret_shares = share.count;
        *ret_needed = share.threshold;
        sodium_memzero(&share, sizeof(share));
    }
    return found;
}

static bool has_member(const struct sk_node *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->u.items[i].kind == SK_STRING && sk_str_is(list->u.items[i].u.text, name)) {
            return true;
        }
    }
    return false;
}

bool vault_is_split_among(const struct vault *vault, const char *const *members, size_t count)
{
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root = NULL;
    bool same = vault_is_split(vault) &&
                vault_file_read(vault->dir, VAULT_SHARE_FILE, "", &text, NULL) == 0 &&
                sk_json_read(arena, VAULT_SHARE_FILE, sk_buf_str(&text), NULL, &root, NULL) == 0;
    const struct sk_node *list = same ? sk_map_seq(root, "members") : NULL;

    same = list && list->count == count;
    for (size_t i = 0; same && i < count; i++) {
        same = has_member(list, members[i]);
    }
    seal_wipe(&text);
    sk_arena_free(arena);
    return same;
}

/* All that is there, and the key if that is enough. */
static int try_split(const struct vault *vault, uint8_t key[SEAL_KEY_BYTES], struct sk_err *err)
{
    struct seal_share set[SEAL_SHARES_MAX];
    size_t n = 0;
    int r;

    set[n++] = vault->own;
    for (size_t i = 0; i < vault->noffers && n < SEAL_SHARES_MAX; i++) {
        set[n++] = vault->offers[i].share;
    }
    r = seal_combine(set, n, key, err);
    sodium_memzero(set, sizeof(set));
    return r;
}

static bool is_ours(const struct seal_share *own, const struct seal_share *share)
{
    return strcmp(own->generation, share->generation) == 0 &&
           strcmp(own->cluster, share->cluster) == 0 && strcmp(own->check, share->check) == 0 &&
           own->threshold == share->threshold && own->count == share->count;
}

/* One place for each node: whoever lies fills only its own. */
static struct offer *place_of(struct vault *vault, const char *from)
{
    for (size_t i = 0; i < vault->noffers; i++) {
        if (strcmp(vault->offers[i].from, from) == 0) {
            return &vault->offers[i];
        }
    }
    return vault->noffers < OFFERS_MAX ? &vault->offers[vault->noffers++] : NULL;
}

int vault_offer(struct vault *vault, const char *from, struct sk_str text, struct sk_err *err)
{
    uint8_t key[SEAL_KEY_BYTES];
    struct seal_share share;
    struct offer *offer;
    int r;

    if (vault->key) {
        return 0;
    }
    r = seal_share_read(text, &share, err);
    if (r < 0) {
        return r;
    }
    if (!is_ours(&vault->own, &share)) {
        return sk_err_set(err, SK_ERR_CONFLICT, "the share of '%s' is of another split", from);
    }
    offer = place_of(vault, from);
    if (!offer) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d shares were offered", OFFERS_MAX);
    }
    (void)snprintf(offer->from, sizeof(offer->from), "%s", from);
    offer->share = share;
    sodium_memzero(&share, sizeof(share));
    r = try_split(vault, key, err);
    if (r == 0) {
        take_key(vault, key);
    } else if (r == SK_ERR_UNAVAILABLE) {
        sk_err_clear(err);
        r = 0;
    }
    return r;
}

void vault_waiting(const struct vault *vault, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%zu of %u shares", 1 + vault->noffers, vault->own.threshold);
}

int vault_join(struct vault *vault, struct sk_err *err)
{
    int r = need_open(vault, err);

    r = r < 0 ? r : write_key(vault, err);
    return r < 0 ? r : vault_file_remove(vault->dir, VAULT_SHARE_FILE, err);
}
