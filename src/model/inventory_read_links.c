/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "model/inventory_draft.h"

struct link_draft {
    struct link link;
    const struct inventory_draft *draft;
    bool has_between;
};

static int read_between(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    uint32_t ends[2];

    made->has_between = true;
    if (at->node->kind != SK_SEQ || at->node->count != 2) {
        return rd_bad(rd, at, "must be a list of two sites");
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct spot item = spot_item(at, i);
        struct sk_str name;
        if (rd_string(rd, &item, &name) < 0 ||
            inventory_named_site(rd, made->draft, &item, name, &ends[i]) < 0) {
            return rd->err.code;
        }
    }
    if (ends[0] == ends[1]) {
        return rd_bad(rd, at, "must name two different sites");
    }
    made->link.a = ends[0] < ends[1] ? ends[0] : ends[1];
    made->link.b = ends[0] < ends[1] ? ends[1] : ends[0];
    return 0;
}

static int read_rtt(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    made->link.has_rtt = true;
    return rd_num(rd, at, 0, INVENTORY_RTT_MS_MAX, &made->link.rtt_ms);
}

static int read_link_price(struct rd *rd, const struct spot *at, void *into)
{
    struct link_draft *made = into;
    made->link.has_price = true;
    return rd_num(rd, at, 0, INVENTORY_PRICE_MAX, &made->link.price_per_gb);
}

static const struct rd_key link_keys[] = {
    {"between", RD_EXECUTED, read_between, "[site, site]; required", "holds both ways"},
    {"rtt_ms", RD_EXECUTED, read_rtt, "milliseconds", "else from the coordinates"},
    {"price_per_gb", RD_EXECUTED, read_link_price, "price of a GB (2^30 bytes)", NULL},
};
const struct rd_object link_object = {
    .place = "links[]", .keys = link_keys, .nkeys = SK_ARRAY_LEN(link_keys), .extensions = true};

int inventory_read_link(struct rd *rd, const struct spot *at, void *into)
{
    struct inventory_draft *draft = into;
    struct link_draft made = {.draft = draft};

    made.link.pos = spot_pos(rd, at);
    if (rd_object_read(rd, at, &link_object, &made) < 0) {
        return rd->err.code;
    }
    if (!made.has_between) {
        return rd_bad(rd, at, "lacks 'between'");
    }
    SK_GROW(draft->links, draft->nlinks, draft->links_cap);
    draft->links[draft->nlinks++] = made.link;
    return 0;
}

static int compare_links(const void *a, const void *b)
{
    const struct link *x = a;
    const struct link *y = b;

    if (x->a != y->a) {
        return x->a < y->a ? -1 : 1;
    }
    return x->b == y->b ? 0 : x->b < y->b ? -1 : 1;
}

int inventory_sort_links(struct rd *rd, struct inventory_draft *draft)
{
    if (draft->nlinks > 1) {
        qsort(draft->links, draft->nlinks, sizeof(*draft->links), compare_links);
    }
    for (size_t i = 1; i < draft->nlinks; i++) {
        const struct link *x = &draft->links[i - 1];
        const struct link *y = &draft->links[i];
        if (compare_links(x, y) == 0) {
            bool y_later = y->pos.line > x->pos.line ||
                           (y->pos.line == x->pos.line && y->pos.col > x->pos.col);
            return rd_fail(rd, y_later ? y->pos : x->pos, SK_ERR_INPUT,
                           "the link between '%.*s' and '%.*s' is there twice",
                           SK_PRI(draft->sites[x->a].name), SK_PRI(draft->sites[x->b].name));
        }
    }
    return 0;
}
