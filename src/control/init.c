/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

/* The first records of a cluster. Made here, so that the formats of records are in one place. */

static void put_cluster(struct ctl_txn *t, const struct control_init *in)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kstr(&w, "cluster", in->cluster);
    sk_jw_kstr(&w, "range", in->range.len ? in->range : SK_STR("10.210.0.0/16"));
    sk_jw_kstr(&w, "currency", in->currency.len ? in->currency : SK_STR("EUR"));
    sk_jw_kbool(&w, "lab", in->lab);
    sk_jw_kint(&w, "created_ms", in->wall_ms);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, SK_STR(CTL_PREFIX "cluster"), &out);
    sk_buf_release(&out);
}

static void put_key(struct ctl_txn *t, const struct control_init *in)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "name", "owner");
    sk_jw_kcstr(&w, "role", "admin");
    sk_jw_kstr(&w, "who", in->who);
    sk_jw_kint(&w, "wall_ms", in->wall_ms);
    sk_jw_obj_end(&w);
    ctl_txn_put(t, ctl_key_text(t, "keys", in->key_hash), &out);
    sk_buf_release(&out);
}

static int init_check(const struct control_init *in, struct sk_err *err)
{
    if (!sk_str_is_label(in->cluster) || !sk_str_is_label(in->first.node) ||
        !sk_str_is_label(in->first.site)) {
        return sk_err_set(err, SK_ERR_INPUT, "names of clusters, nodes and sites are DNS labels");
    }
    if (in->first.cpus_nano <= 0 || in->first.memory_bytes <= 0) {
        return sk_err_set(err, SK_ERR_INPUT, "the node offers no cpus or no memory");
    }
    if (!ctl_is_hex(in->serial, 32) || (in->key_hash.len > 0 && !ctl_is_hex(in->key_hash, 64))) {
        return sk_err_set(err, SK_ERR_INPUT, "serial or key hash is no lower case hex");
    }
    return 0;
}

int control_init_txn(const struct control_init *in, struct control_commands *out,
                     struct sk_err *err)
{
    struct control fresh = {.wall_ms = in->wall_ms};
    struct sk_buf text = SK_BUF_INIT;
    struct sk_jw w;
    char prefix[24];
    char range[64];

    (void)snprintf(range, sizeof(range), "%.*s",
                   SK_PRI(in->range.len ? in->range : SK_STR("10.210.0.0/16")));
    fresh.range = range;
    if (init_check(in, err) < 0) {
        return err ? err->code : SK_ERR_INPUT;
    }
    if (ctl_prefix_pick(&fresh, prefix, NULL) < 0) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "range '%s' is no IPv4 network with a prefix from /8 to /24", range);
    }
    struct ctl_txn *t = ctl_txn_new(NULL);
    put_cluster(t, in);
    sk_jw_init(&w, &text);
    ctl_site_record(&w, in->site_role);
    ctl_txn_put(t, ctl_key_text(t, "sites", in->first.site), &text);
    sk_jw_init(&w, &text);
    ctl_node_record(&w, &in->first, prefix, in->wall_ms);
    ctl_txn_put(t, ctl_key_text(t, "nodes", in->first.node), &text);
    sk_buf_release(&text);
    ctl_certs_put(&fresh, t, in->first.node, in->serial, in->wall_ms + CONTROL_CERT_TTL_MS);
    if (in->key_hash.len > 0) {
        put_key(t, in);
    }
    struct sk_str who = sk_arena_str(t->arena, in->who);
    ctl_txn_event(&fresh, t,
                  &(struct ctl_evtext){.what = "cluster_created",
                                       .who = who.ptr,
                                       .node = in->first.node,
                                       .site = in->first.site,
                                       .text = in->lab ? "a cluster for tries (lab) was made"
                                                       : "a cluster was made"});
    fresh.out = out;
    ctl_txn_send(&fresh, t);
    fresh.pending = NULL;
    ctl_txn_free(t);
    return 0;
}
