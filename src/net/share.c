/* SPDX-License-Identifier: Apache-2.0 */
#include <libgfshare.h>
#include <sodium.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/seal.h"
#include "sys/clock.h"

/* Shares of a key: the part of seal.h that libgfshare does, and what it lacks: who belongs
 * together, and whether what comes out is the key. */

#define SUM_BYTES 8
#define CHECK_BYTES 16

static void fill_random(unsigned char *bytes, unsigned int len)
{
    sys_random(bytes, len);
}

/* A MAC under the key, which is random and whole: it tells nothing of it. */
static void check_of(const uint8_t key[SEAL_KEY_BYTES], const struct seal_share *facts,
                     char ret[SEAL_ID_SIZE])
{
    uint8_t mac[CHECK_BYTES];
    char text[256];
    int n = snprintf(text, sizeof(text), "skerry.share/1 %s %s %u %u", facts->cluster,
                     facts->generation, facts->threshold, facts->count);

    (void)crypto_generichash(mac, sizeof(mac), (const uint8_t *)text, (size_t)n, key,
                             SEAL_KEY_BYTES);
    sk_hex(mac, sizeof(mac), ret);
}

static int check_counts(unsigned count, unsigned threshold, struct sk_err *err)
{
    if (threshold < 2 || threshold > count || count > SEAL_SHARES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "a key cannot be split in %u shares of which %u open",
                          count, threshold);
    }
    return 0;
}

int seal_split(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, unsigned count,
               unsigned threshold, struct seal_share *ret, struct sk_err *err)
{
    unsigned char numbers[SEAL_SHARES_MAX], secret[SEAL_KEY_BYTES];
    uint8_t id[16];
    struct seal_share facts = {.threshold = threshold, .count = count};
    gfshare_ctx *ctx;

    if (check_counts(count, threshold, err) < 0) {
        return SK_ERR_INPUT;
    }
    SK_ASSERT(strlen(cluster) < sizeof(facts.cluster));
    (void)snprintf(facts.cluster, sizeof(facts.cluster), "%s", cluster);
    sys_random(id, sizeof(id));
    sk_hex(id, sizeof(id), facts.generation);
    check_of(key, &facts, facts.check);
    for (unsigned i = 0; i < count; i++) {
        numbers[i] = (unsigned char)(i + 1);
    }
    gfshare_fill_rand = fill_random; /* always the same: every thread may set it */
    ctx = gfshare_ctx_init_enc(numbers, count, (unsigned char)threshold, SEAL_KEY_BYTES);
    if (!ctx) {
        sk_out_of_memory(SEAL_KEY_BYTES);
    }
    memcpy(secret, key, sizeof(secret)); /* the library's parameter is not const */
    gfshare_ctx_enc_setsecret(ctx, secret);
    for (unsigned i = 0; i < count; i++) {
        ret[i] = facts;
        ret[i].number = i + 1;
        gfshare_ctx_enc_getshare(ctx, (unsigned char)i, ret[i].bytes);
    }
    gfshare_ctx_free(ctx); /* overwrites what it held */
    sodium_memzero(secret, sizeof(secret));
    return 0;
}

/* Tells a damaged share from a wrong one; no defence against whoever alters it on purpose. */
static void sum_of(const struct seal_share *s, char ret[2 * SUM_BYTES + 1])
{
    struct sk_buf text = SK_BUF_INIT;
    uint8_t hash[SK_SHA256_BYTES];

    sk_buf_printf(&text, "skerry.share/1 %s %s %s %u %u %u ", s->cluster, s->generation, s->check,
                  s->number, s->threshold, s->count);
    sk_buf_add(&text, s->bytes, sizeof(s->bytes));
    sk_sha256(sk_buf_str(&text), hash);
    sk_hex(hash, SUM_BYTES, ret);
    seal_wipe(&text);
}

void seal_share_write(const struct seal_share *share, struct sk_buf *ret_text)
{
    char hex[2 * SEAL_KEY_BYTES + 1], sum[2 * SUM_BYTES + 1];
    struct sk_jw w;

    sk_hex(share->bytes, sizeof(share->bytes), hex);
    sum_of(share, sum);
    sk_jw_init(&w, ret_text);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "cluster", share->cluster);
    sk_jw_kcstr(&w, "generation", share->generation);
    sk_jw_kcstr(&w, "check", share->check);
    sk_jw_kint(&w, "number", share->number);
    sk_jw_kint(&w, "threshold", share->threshold);
    sk_jw_kint(&w, "count", share->count);
    sk_jw_kcstr(&w, "share", hex);
    sk_jw_kcstr(&w, "sum", sum);
    sk_jw_obj_end(&w);
    sodium_memzero(hex, sizeof(hex));
}

static int bad_share(struct sk_err *err)
{
    return sk_err_set(err, SK_ERR_INPUT, "the share is not of the form");
}

/* 128 bits, in the one spelling that is written. */
static bool copy_id(const struct sk_node *root, const char *name, char ret[SEAL_ID_SIZE])
{
    uint8_t id[16];

    if (!sk_unhex(sk_map_str(root, name, SK_STR("")), id, sizeof(id))) {
        return false;
    }
    sk_hex(id, sizeof(id), ret);
    return true;
}

static bool small_number(const struct sk_node *root, const char *name, unsigned *ret)
{
    int64_t n = sk_map_int(root, name, 0);

    if (n < 1 || n > SEAL_SHARES_MAX) {
        return false;
    }
    *ret = (unsigned)n;
    return true;
}

static int share_of(const struct sk_node *root, struct seal_share *share, struct sk_err *err)
{
    struct sk_str cluster = sk_map_str(root, "cluster", SK_STR(""));
    char sum[2 * SUM_BYTES + 1];

    if (root->kind != SK_MAP || sk_map_int(root, "v", 0) < 1) {
        return bad_share(err);
    }
    if (sk_map_int(root, "v", 0) > 1) {
        return sk_err_set(err, SK_ERR_UNSUPPORTED, "the share is of a later version of skerry");
    }
    if (!sk_str_is_label(cluster) || !copy_id(root, "generation", share->generation) ||
        !copy_id(root, "check", share->check) || !small_number(root, "number", &share->number) ||
        !small_number(root, "threshold", &share->threshold) ||
        !small_number(root, "count", &share->count) || share->threshold < 2 ||
        share->threshold > share->count || share->number > share->count ||
        !sk_unhex(sk_map_str(root, "share", SK_STR("")), share->bytes, sizeof(share->bytes))) {
        return bad_share(err);
    }
    memcpy(share->cluster, cluster.ptr, cluster.len);
    sum_of(share, sum);
    if (!sk_str_is(sk_map_str(root, "sum", SK_STR("")), sum)) {
        return sk_err_set(err, SK_ERR_CORRUPT, "share %u is damaged", share->number);
    }
    return 0;
}

int seal_share_read(struct sk_str text, struct seal_share *ret, struct sk_err *err)
{
    static const struct sk_limits limits = {
        .bytes_max = SEAL_TEXT_BYTES_MAX, .depth_max = 8, .nodes_max = 256};
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    struct seal_share share = {0};
    int r = sk_json_read(arena, "share", text, &limits, &root, err);

    r = r < 0 ? r : share_of(root, &share, err);
    if (r == 0) {
        *ret = share;
    }
    sodium_memzero(&share, sizeof(share));
    sk_arena_free(arena);
    return r;
}

/* What the shares of the set bits give; true if that is the key. */
static bool try_set(const struct seal_share *const *shares, size_t count, unsigned set,
                    uint8_t ret[SEAL_KEY_BYTES])
{
    unsigned char numbers[SEAL_SHARES_MAX], bytes[SEAL_KEY_BYTES];
    unsigned n = 0;
    char check[SEAL_ID_SIZE];
    gfshare_ctx *ctx;

    for (size_t i = 0; i < count; i++) {
        if (set & (1U << i)) {
            numbers[n++] = (unsigned char)shares[i]->number;
        }
    }
    gfshare_fill_rand = fill_random;
    ctx = gfshare_ctx_init_dec(numbers, n, SEAL_KEY_BYTES);
    if (!ctx) {
        sk_out_of_memory(SEAL_KEY_BYTES);
    }
    n = 0;
    for (size_t i = 0; i < count; i++) {
        if (set & (1U << i)) {
            memcpy(bytes, shares[i]->bytes, sizeof(bytes));
            gfshare_ctx_dec_giveshare(ctx, (unsigned char)n++, bytes);
        }
    }
    gfshare_ctx_dec_extract(ctx, bytes);
    gfshare_ctx_free(ctx);
    check_of(bytes, shares[0], check);
    if (sodium_memcmp(check, shares[0]->check, SEAL_ID_SIZE) != 0) {
        sodium_memzero(bytes, sizeof(bytes));
        return false;
    }
    memcpy(ret, bytes, sizeof(bytes));
    sodium_memzero(bytes, sizeof(bytes));
    return true;
}

static bool same_split(const struct seal_share *a, const struct seal_share *b)
{
    return strcmp(a->cluster, b->cluster) == 0 && strcmp(a->generation, b->generation) == 0 &&
           strcmp(a->check, b->check) == 0 && a->threshold == b->threshold && a->count == b->count;
}

static bool is_listed(const struct seal_share *const *list, size_t count,
                      const struct seal_share *share)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i]->number == share->number &&
            memcmp(list[i]->bytes, share->bytes, sizeof(share->bytes)) == 0) {
            return true;
        }
    }
    return false;
}

/* No number twice: two points at one place are no line. */
static bool has_twins(const struct seal_share *const *list, size_t count, unsigned set)
{
    unsigned seen = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned bit = 1U << list[i]->number;
        if (set & (1U << i)) {
            if (seen & bit) {
                return true;
            }
            seen |= bit;
        }
    }
    return false;
}

int seal_combine(const struct seal_share *shares, size_t count, uint8_t ret[SEAL_KEY_BYTES],
                 struct sk_err *err)
{
    const struct seal_share *list[SEAL_SHARES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < count && n < SEAL_SHARES_MAX; i++) {
        if (!same_split(&shares[0], &shares[i])) {
            return sk_err_set(err, SK_ERR_CONFLICT,
                              "share %u is of another split of the key, or of another cluster",
                              shares[i].number);
        }
        if (!is_listed(list, n, &shares[i])) {
            list[n++] = &shares[i];
        }
    }
    if (n == 0 || n < list[0]->threshold) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "%zu of %u shares of the unseal key are there",
                          n, n ? list[0]->threshold : 2);
    }
    for (unsigned set = 1; set < 1U << n; set++) {
        if (__builtin_popcount(set) == (int)list[0]->threshold && !has_twins(list, n, set) &&
            try_set(list, n, set, ret)) {
            return 0;
        }
    }
    return sk_err_set(err, SK_ERR_CORRUPT, "the shares do not give the key: some of them is wrong");
}
