/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "model/inventory_draft.h"

#define TEXT_MAX 128

static int read_text(struct rd *rd, const struct spot *at, struct sk_str *ret)
{
    struct sk_str text;

    if (at->node->kind == SK_STRING && at->node->u.text.len == 0) {
        *ret = SK_STR("");
        return 0;
    }
    if (rd_filled(rd, at, TEXT_MAX, &text) < 0) {
        return rd->err.code;
    }
    *ret = text;
    return 0;
}

static int read_region(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;

    if (read_text(rd, at, &site->region) < 0) {
        return rd->err.code;
    }
    if (sk_str_starts(site->region, SK_STR("country:"))) {
        return rd_bad(rd, at, "must not start with 'country:', which means a country in residency");
    }
    return 0;
}

static int read_country(struct rd *rd, const struct spot *at, void *into)
{
    return read_text(rd, at, &((struct site *)into)->country);
}

static int read_provider(struct rd *rd, const struct spot *at, void *into)
{
    return read_text(rd, at, &((struct site *)into)->provider);
}

static int read_at(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;
    site->has_at = true;
    return rd_point(rd, at, &site->lat, &site->lon);
}

static int read_egress(struct rd *rd, const struct spot *at, void *into)
{
    struct site *site = into;
    site->has_egress = true;
    return rd_num(rd, at, 0, INVENTORY_PRICE_MAX, &site->egress_per_gb);
}

static int read_price_gb_month(struct rd *rd, const struct spot *at, void *into)
{
    return rd_num(rd, at, 0, INVENTORY_PRICE_MAX, &((struct site *)into)->price_gb_month);
}

static const char *const trust_names[] = {"full", "storage", "control"};

static int read_trust(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    for (size_t i = 0; i < SK_ARRAY_LEN(trust_names); i++) {
        if (sk_str_is(text, trust_names[i])) {
            ((struct site *)into)->trust = (enum site_trust)i;
            return 0;
        }
    }
    return rd_bad(rd, at, "must be full, storage or control, not '%.*s'", SK_PRI(text));
}

static int read_site_drained(struct rd *rd, const struct spot *at, void *into)
{
    return rd_bool(rd, at, &((struct site *)into)->drained);
}

static const struct rd_key site_keys[] = {
    {"region", RD_EXECUTED, read_region, "text", "unknown: residency fails by name"},
    {"country", RD_EXECUTED, read_country, "text, like DE", NULL},
    {"at", RD_EXECUTED, read_at, "[latitude, longitude] in degrees", NULL},
    {"provider", RD_EXECUTED, read_provider, "text", NULL},
    {"egress_per_gb", RD_EXECUTED, read_egress, "price of a GB (2^30 bytes) that leaves to users",
     "unknown: cost is unknown where traffic is declared"},
    {"price_gb_month", RD_EXECUTED, read_price_gb_month, "price of a stored GB a month; default 0",
     NULL},
    {"trust", RD_EXECUTED, read_trust, "full (default), storage, control", NULL},
    {"drained", RD_EXECUTED, read_site_drained, "true or false", "takes nothing"},
};
const struct rd_object site_object = {
    .place = "sites.*", .keys = site_keys, .nkeys = SK_ARRAY_LEN(site_keys), .extensions = true};

int inventory_read_site(struct rd *rd, const struct spot *at, void *into)
{
    struct inventory_draft *draft = into;
    struct site site = {0};

    site.pos = (struct sk_pos){rd->file, at->key_line, at->key_col};
    if (rd_name(rd, site.pos, "site", at->key) < 0) {
        return rd->err.code;
    }
    site.name = sk_arena_str(rd->arena, at->key);
    site.region = site.country = site.provider = SK_STR("");
    if (at->node->kind != SK_NULL && rd_object_read(rd, at, &site_object, &site) < 0) {
        return rd->err.code;
    }
    SK_GROW(draft->sites, draft->nsites, draft->sites_cap);
    draft->sites[draft->nsites++] = site;
    return 0;
}

static int compare_sites(const void *a, const void *b)
{
    return sk_str_cmp(((const struct site *)a)->name, ((const struct site *)b)->name);
}

int64_t inventory_find_site(const struct site *sites, size_t nsites, struct sk_str name)
{
    size_t low = 0;
    size_t high = nsites;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(sites[mid].name, name);
        if (order == 0) {
            return (int64_t)mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return -1;
}

static int unknown_site(struct rd *rd, const struct inventory_draft *draft, const struct spot *at,
                        struct sk_str name)
{
    unsigned best = 3;
    const struct site *found = NULL;
    int code = rd_bad(rd, at, "names the site '%.*s', which is not declared", SK_PRI(name));

    for (size_t i = 0; i < draft->nsites; i++) {
        unsigned distance = sk_str_distance(name, draft->sites[i].name, 2);
        if (distance < best && distance < name.len) {
            best = distance;
            found = &draft->sites[i];
        }
    }
    if (found) {
        (void)sk_err_fix(&rd->err, "did you mean '%.*s'?", SK_PRI(found->name));
    } else {
        (void)sk_err_fix(&rd->err, "declare it under 'sites'");
    }
    return code;
}

int inventory_named_site(struct rd *rd, const struct inventory_draft *draft, const struct spot *at,
                         struct sk_str name, uint32_t *ret)
{
    int64_t site = inventory_find_site(draft->sites, draft->nsites, name);

    if (site < 0) {
        return unknown_site(rd, draft, at, name);
    }
    *ret = (uint32_t)site;
    return 0;
}

void inventory_sort_sites(struct inventory_draft *draft)
{
    qsort(draft->sites, draft->nsites, sizeof(*draft->sites), compare_sites);
}
