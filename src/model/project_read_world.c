/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"
#include "model/project_draft.h"

/* `x-skerry` at the top level: users and buckets. */

#define SHARE_MAX 1e12
#define RTT_MS_MAX 1e6
#define DATA_MAX 64
#define PARITY_MAX 64

/* users ----------------------------------------------------------------------------------- */

static int read_at(struct rd *rd, const struct spot *at, void *into)
{
    struct users *users = into;
    users->has_at = true;
    return rd_point(rd, at, &users->lat, &users->lon);
}

static int read_users_share(struct rd *rd, const struct spot *at, void *into)
{
    struct users *users = into;
    struct sk_str text;

    if (rd_scalar(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (text.len && text.ptr[text.len - 1] == '%') {
        if (rd_share(rd, at, &users->share) < 0) {
            return rd->err.code;
        }
    } else if (rd_num(rd, at, 0, SHARE_MAX, &users->share) < 0) {
        return rd->err.code;
    }
    return users->share > 0 ? 0 : rd_bad(rd, at, "must be above 0");
}

static int compare_rtts(const void *a, const void *b)
{
    return sk_str_cmp(((const struct user_rtt *)a)->site, ((const struct user_rtt *)b)->site);
}

static int read_rtt_ms(struct rd *rd, const struct spot *at, void *into)
{
    struct users *users = into;
    struct user_rtt *rtts;

    if (rd_want(rd, at, SK_MAP) < 0 || rd_at_most(rd, at, INVENTORY_SITES_MAX) < 0) {
        return rd->err.code;
    }
    rtts = SK_ARENA_ARRAY(rd->arena, struct user_rtt, at->node->count);
    for (uint32_t i = 0; i < at->node->count; i++) {
        struct spot member = spot_member(at, &at->node->u.members[i]);
        rtts[i].site = sk_arena_str(rd->arena, member.key);
        if (rd_name(rd, spot_pos(rd, &member), "site", member.key) < 0 ||
            rd_num(rd, &member, 0, RTT_MS_MAX, &rtts[i].rtt_ms) < 0) {
            return rd->err.code;
        }
    }
    if (at->node->count > 1) {
        qsort(rtts, at->node->count, sizeof(*rtts), compare_rtts);
    }
    users->rtt = rtts;
    users->nrtt = at->node->count;
    return 0;
}

static const struct rd_key users_keys[] = {
    {"at", RD_EXECUTED, read_at, "[latitude, longitude] in degrees", "or rtt_ms"},
    {"rtt_ms", RD_EXECUTED, read_rtt_ms, "{SITE: milliseconds}",
     "of sites not named: from the coordinates"},
    {"share", RD_EXECUTED, read_users_share, "number above 0, or 40%; default 1",
     "shares are divided by their sum"},
};
const struct rd_object users_object = {
    .place = "x-skerry.users.*", .keys = users_keys, .nkeys = SK_ARRAY_LEN(users_keys)};

static int read_population(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;
    struct users *users = &draft->users[draft->nusers++];

    users->pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    users->share = 1;
    if (rd_name(rd, users->pos, "population of users", at->key) < 0) {
        return rd->err.code;
    }
    users->name = sk_arena_str(rd->arena, at->key);
    if (rd_object_read(rd, at, &users_object, users) < 0) {
        return rd->err.code;
    }
    if (!users->has_at && users->nrtt == 0) {
        return rd_bad(rd, at, "lacks 'at' or 'rtt_ms'");
    }
    return 0;
}

static int compare_users(const void *a, const void *b)
{
    return sk_str_cmp(((const struct users *)a)->name, ((const struct users *)b)->name);
}

/* Shares that already sum to 1 stay as they are, so that reading the canonical form again changes
 * nothing. */
static void normalise(struct users *users, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += users[i].share;
    }
    if (sum > 1 - 1e-12 && sum < 1 + 1e-12) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        users[i].share /= sum;
    }
}

static int read_users(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;

    if (rd_want(rd, at, SK_MAP) < 0 || rd_at_most(rd, at, PROJECT_USERS_MAX) < 0) {
        return rd->err.code;
    }
    draft->users = SK_ARENA_ARRAY(rd->arena, struct users, at->node->count);
    if (rd_each(rd, at, read_population, draft) < 0) {
        return rd->err.code;
    }
    if (draft->nusers > 1) {
        qsort(draft->users, draft->nusers, sizeof(*draft->users), compare_users);
    }
    normalise(draft->users, draft->nusers);
    return 0;
}

/* buckets --------------------------------------------------------------------------------- */

static int read_size(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bytes(rd, at, &((struct bucket *)into)->size_bytes);
}

static int read_code(struct rd *rd, const struct spot *at, void *into)
{
    struct bucket *bucket = into;
    struct sk_str text;
    struct sk_str data;
    struct sk_str parity;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (!sk_str_cut(text, '+', &data, &parity) ||
        sk_parse_int(data, 1, DATA_MAX, &bucket->data, NULL) < 0 ||
        sk_parse_int(parity, 0, PARITY_MAX, &bucket->parity, NULL) < 0) {
        return rd_bad(rd, at, "must be a code like 4+2 (1 to %d data, 0 to %d parity), not '%.*s'",
                      DATA_MAX, PARITY_MAX, SK_PRI(text));
    }
    bucket->has_code = true;
    return 0;
}

static int read_bucket_sites(struct rd *rd, const struct spot *at, void *into)
{
    struct bucket *bucket = into;
    bucket->survive.sites_written = true;
    return read_survive_count(rd, at, &bucket->survive.sites);
}

static const struct rd_key bucket_survive_keys[] = {
    {"sites", RD_PLANNED, read_bucket_sites, "whole number; goal 1 where two sites are allowed",
     "written: hard"},
};
const struct rd_object bucket_survive_object = {.place = "x-skerry.buckets.*.survive",
                                                .keys = bucket_survive_keys,
                                                .nkeys = SK_ARRAY_LEN(bucket_survive_keys)};

static int read_bucket_survive(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &bucket_survive_object, into);
}

static int read_bucket_residency(struct rd *rd, const struct spot *at, void *into)
{
    struct bucket *bucket = into;
    return read_residency_list(rd, at, &bucket->residency, &bucket->nresidency);
}

static const struct rd_key bucket_keys[] = {
    {"size", RD_PLANNED, read_size, "size; default 0", NULL},
    {"code", RD_PLANNED, read_code, "DATA+PARITY; default the cheapest that survives", NULL},
    {"survive", RD_PLANNED, read_bucket_survive, "{sites}", NULL},
    {"residency", RD_PLANNED, read_bucket_residency, "list of regions or country:XX", "hard"},
};
const struct rd_object bucket_object = {
    .place = "x-skerry.buckets.*", .keys = bucket_keys, .nkeys = SK_ARRAY_LEN(bucket_keys)};

static int read_bucket(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;
    struct bucket *bucket = &draft->buckets[draft->nbuckets++];

    bucket->pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    if (!sk_str_is_label(at->key)) {
        (void)rd_fail(rd, bucket->pos, SK_ERR_INPUT, "'%.*s' is not a name of a bucket",
                      SK_PRI(at->key));
        return sk_err_fix(&rd->err, "use 1 to 63 lower case letters, digits and '-'");
    }
    bucket->name = sk_arena_str(rd->arena, at->key);
    return at->node->kind == SK_NULL ? 0 : rd_object_read(rd, at, &bucket_object, bucket);
}

static int compare_buckets(const void *a, const void *b)
{
    return sk_str_cmp(((const struct bucket *)a)->name, ((const struct bucket *)b)->name);
}

static int read_buckets(struct rd *rd, const struct spot *at, void *into)
{
    struct project_draft *draft = into;

    if (rd_want(rd, at, SK_MAP) < 0 || rd_at_most(rd, at, PROJECT_BUCKETS_MAX) < 0) {
        return rd->err.code;
    }
    draft->buckets = SK_ARENA_ARRAY(rd->arena, struct bucket, at->node->count);
    if (rd_each(rd, at, read_bucket, draft) < 0) {
        return rd->err.code;
    }
    if (draft->nbuckets > 1) {
        qsort(draft->buckets, draft->nbuckets, sizeof(*draft->buckets), compare_buckets);
    }
    return 0;
}

static const struct rd_key world_keys[] = {
    {"users", RD_EXECUTED, read_users, "map of populations by name", NULL},
    {"buckets", RD_PLANNED, read_buckets, "map of buckets by name", NULL},
};
const struct rd_object world_object = {
    .place = "x-skerry", .keys = world_keys, .nkeys = SK_ARRAY_LEN(world_keys)};

int read_world(struct rd *rd, const struct spot *at, void *into)
{
    return rd_object_read(rd, at, &world_object, into);
}
