/* SPDX-License-Identifier: Apache-2.0 */
#include "model/inventory.h"

#include <stdio.h>

#include "base/units.h"
#include "model/exact.h"

static const char *const trust_names[] = {"full", "storage", "control"};

/* JSON: what programs read. Sizes are bytes, cpus are exact decimals. */

static void json_site(const struct site *site, struct sk_jw *w)
{
    sk_jw_keystr(w, site->name);
    sk_jw_obj(w);
    if (site->region.len) {
        sk_jw_kstr(w, "region", site->region);
    }
    if (site->country.len) {
        sk_jw_kstr(w, "country", site->country);
    }
    if (site->has_at) {
        sk_jw_key(w, "at");
        sk_jw_arr(w);
        sk_jw_num(w, site->lat);
        sk_jw_num(w, site->lon);
        sk_jw_arr_end(w);
    }
    if (site->provider.len) {
        sk_jw_kstr(w, "provider", site->provider);
    }
    if (site->has_egress) {
        sk_jw_knum(w, "egress_per_gb", site->egress_per_gb);
    }
    if (site->price_gb_month > 0) {
        sk_jw_knum(w, "price_gb_month", site->price_gb_month);
    }
    if (site->trust != SITE_FULL) {
        sk_jw_kcstr(w, "trust", trust_names[site->trust]);
    }
    if (site->drained) {
        sk_jw_kbool(w, "drained", true);
    }
    sk_jw_obj_end(w);
}

static void json_node(const struct inventory *inv, const struct node *node, struct sk_jw *w)
{
    char cpus[EXACT_CPUS_MAX];

    sk_jw_keystr(w, node->name);
    sk_jw_obj(w);
    sk_jw_kstr(w, "site", inv->sites[node->site].name);
    sk_jw_key(w, "cpus");
    sk_jw_raw(w, exact_cpus(node->cpus_nano, cpus));
    sk_jw_kint(w, "memory", node->memory_bytes);
    if (node->disk_bytes) {
        sk_jw_kint(w, "disk", node->disk_bytes);
    }
    if (node->has_price) {
        sk_jw_knum(w, "price_hour", node->price_hour);
    }
    if (node->nlabels) {
        sk_jw_key(w, "labels");
        sk_jw_obj(w);
        for (size_t i = 0; i < node->nlabels; i++) {
            sk_jw_keystr(w, node->labels[i].key);
            sk_jw_str(w, node->labels[i].value);
        }
        sk_jw_obj_end(w);
    }
    if (node->drained) {
        sk_jw_kbool(w, "drained", true);
    }
    sk_jw_obj_end(w);
}

static void json_link(const struct inventory *inv, const struct link *link, struct sk_jw *w)
{
    sk_jw_obj(w);
    sk_jw_key(w, "between");
    sk_jw_arr(w);
    sk_jw_str(w, inv->sites[link->a].name);
    sk_jw_str(w, inv->sites[link->b].name);
    sk_jw_arr_end(w);
    if (link->has_rtt) {
        sk_jw_knum(w, "rtt_ms", link->rtt_ms);
    }
    if (link->has_price) {
        sk_jw_knum(w, "price_per_gb", link->price_per_gb);
    }
    sk_jw_obj_end(w);
}

void inventory_write_json(const struct inventory *inv, struct sk_jw *w)
{
    sk_jw_obj(w);
    sk_jw_kcstr(w, "format", "skerry.inventory/1");
    sk_jw_kstr(w, "currency", inv->currency);
    sk_jw_key(w, "sites");
    sk_jw_obj(w);
    for (size_t i = 0; i < inv->nsites; i++) {
        json_site(&inv->sites[i], w);
    }
    sk_jw_obj_end(w);
    sk_jw_key(w, "nodes");
    sk_jw_obj(w);
    for (size_t i = 0; i < inv->nnodes; i++) {
        json_node(inv, &inv->nodes[i], w);
    }
    sk_jw_obj_end(w);
    sk_jw_key(w, "links");
    sk_jw_arr(w);
    for (size_t i = 0; i < inv->nlinks; i++) {
        json_link(inv, &inv->links[i], w);
    }
    sk_jw_arr_end(w);
    sk_jw_obj_end(w);
}

/* YAML: what people read. One line a site, node or link. ---------------------------------- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Plain only where no reader of any YAML version could take it for something other than text. */
static bool plain_is_safe(struct sk_str text)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no",
                                        "on",   "off",   "y",    "n"};

    if (text.len == 0 || text.len > 64 || !is_letter(text.ptr[0])) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
        size_t i = 0;
        while (i < text.len && words[k][i] && (text.ptr[i] | 0x20) == words[k][i]) {
            i++;
        }
        if (i == text.len && words[k][i] == '\0') {
            return false;
        }
    }
    return true;
}

/* What JSON lets stand in a string and YAML does not take (YAML 1.1, section 5.1), or folds as the
 * end of a line. */
static bool yaml_needs_escape(unsigned point)
{
    return point == 0x7f || (point >= 0x80 && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
           point == 0xfeff || point == 0xfffe || point == 0xffff;
}

static void yaml_text(struct sk_buf *out, struct sk_str text)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_jw w;

    if (plain_is_safe(text)) {
        sk_buf_addstr(out, text);
        return;
    }
    sk_jw_init(&w, &json); /* but for these, a JSON string is a YAML double-quoted scalar */
    sk_jw_str(&w, text);
    for (size_t i = 0, len; i < json.len; i += len) {
        const unsigned char *p = (const unsigned char *)json.ptr + i;
        unsigned point = p[0];
        len = p[0] < 0x80 ? 1 : sk_utf8_len((struct sk_str){json.ptr + i, json.len - i});
        len = len > 0 ? len : 1;
        if (len == 2) {
            point = ((p[0] & 0x1fu) << 6) | (p[1] & 0x3fu);
        } else if (len == 3) {
            point = ((p[0] & 0x0fu) << 12) | ((p[1] & 0x3fu) << 6) | (p[2] & 0x3fu);
        }
        if (len < 4 && yaml_needs_escape(point)) {
            sk_buf_printf(out, "\\u%04x", point);
        } else {
            sk_buf_add(out, json.ptr + i, len);
        }
    }
    sk_buf_release(&json);
}

static void yaml_num(struct sk_buf *out, double n)
{
    char text[SK_NUM_TEXT_MAX];
    sk_buf_add(out, text, sk_num_text(n, text));
}

/* "{a: 1, b: 2}": the part before each member. */
static void yaml_key(struct sk_buf *out, bool *first, const char *key)
{
    sk_buf_printf(out, "%s%s: ", *first ? "{" : ", ", key);
    *first = false;
}

static void yaml_end(struct sk_buf *out, bool first)
{
    sk_buf_adds(out, first ? "{}\n" : "}\n");
}

static void yaml_site(const struct site *site, struct sk_buf *out)
{
    bool first = true;

    sk_buf_adds(out, "  ");
    yaml_text(out, site->name);
    sk_buf_adds(out, ": ");
    if (site->region.len) {
        yaml_key(out, &first, "region");
        yaml_text(out, site->region);
    }
    if (site->country.len) {
        yaml_key(out, &first, "country");
        yaml_text(out, site->country);
    }
    if (site->has_at) {
        yaml_key(out, &first, "at");
        sk_buf_addc(out, '[');
        yaml_num(out, site->lat);
        sk_buf_adds(out, ", ");
        yaml_num(out, site->lon);
        sk_buf_addc(out, ']');
    }
    if (site->provider.len) {
        yaml_key(out, &first, "provider");
        yaml_text(out, site->provider);
    }
    if (site->has_egress) {
        yaml_key(out, &first, "egress_per_gb");
        yaml_num(out, site->egress_per_gb);
    }
    if (site->price_gb_month > 0) {
        yaml_key(out, &first, "price_gb_month");
        yaml_num(out, site->price_gb_month);
    }
    if (site->trust != SITE_FULL) {
        yaml_key(out, &first, "trust");
        sk_buf_adds(out, trust_names[site->trust]);
    }
    if (site->drained) {
        yaml_key(out, &first, "drained");
        sk_buf_adds(out, "true");
    }
    yaml_end(out, first);
}

static void yaml_labels(const struct node *node, struct sk_buf *out)
{
    sk_buf_adds(out, "{");
    for (size_t i = 0; i < node->nlabels; i++) {
        sk_buf_adds(out, i ? ", " : "");
        yaml_text(out, node->labels[i].key);
        sk_buf_adds(out, ": ");
        yaml_text(out, node->labels[i].value);
    }
    sk_buf_adds(out, "}");
}

static void yaml_node(const struct inventory *inv, const struct node *node, struct sk_buf *out)
{
    char cpus[EXACT_CPUS_MAX];
    char bytes[EXACT_BYTES_MAX];
    bool first = true;

    sk_buf_adds(out, "  ");
    yaml_text(out, node->name);
    sk_buf_adds(out, ": ");
    yaml_key(out, &first, "site");
    yaml_text(out, inv->sites[node->site].name);
    yaml_key(out, &first, "cpus");
    sk_buf_addstr(out, exact_cpus(node->cpus_nano, cpus));
    yaml_key(out, &first, "memory");
    sk_buf_addstr(out, exact_bytes(node->memory_bytes, bytes));
    if (node->disk_bytes) {
        yaml_key(out, &first, "disk");
        sk_buf_addstr(out, exact_bytes(node->disk_bytes, bytes));
    }
    if (node->has_price) {
        yaml_key(out, &first, "price_hour");
        yaml_num(out, node->price_hour);
    }
    if (node->nlabels) {
        yaml_key(out, &first, "labels");
        yaml_labels(node, out);
    }
    if (node->drained) {
        yaml_key(out, &first, "drained");
        sk_buf_adds(out, "true");
    }
    yaml_end(out, first);
}

static void yaml_link(const struct inventory *inv, const struct link *link, struct sk_buf *out)
{
    bool first = true;

    sk_buf_adds(out, "  - ");
    yaml_key(out, &first, "between");
    sk_buf_addc(out, '[');
    yaml_text(out, inv->sites[link->a].name);
    sk_buf_adds(out, ", ");
    yaml_text(out, inv->sites[link->b].name);
    sk_buf_addc(out, ']');
    if (link->has_rtt) {
        yaml_key(out, &first, "rtt_ms");
        yaml_num(out, link->rtt_ms);
    }
    if (link->has_price) {
        yaml_key(out, &first, "price_per_gb");
        yaml_num(out, link->price_per_gb);
    }
    yaml_end(out, first);
}

void inventory_write_yaml(const struct inventory *inv, struct sk_buf *out)
{
    sk_buf_adds(out, "format: \"skerry.inventory/1\"\ncurrency: ");
    yaml_text(out, inv->currency);
    sk_buf_adds(out, "\nsites:\n");
    for (size_t i = 0; i < inv->nsites; i++) {
        yaml_site(&inv->sites[i], out);
    }
    if (inv->nnodes) {
        sk_buf_adds(out, "nodes:\n");
    }
    for (size_t i = 0; i < inv->nnodes; i++) {
        yaml_node(inv, &inv->nodes[i], out);
    }
    if (inv->nlinks) {
        sk_buf_adds(out, "links:\n");
    }
    for (size_t i = 0; i < inv->nlinks; i++) {
        yaml_link(inv, &inv->links[i], out);
    }
}
