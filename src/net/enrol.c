/* SPDX-License-Identifier: Apache-2.0 */
#include "net/enrol.h"

#include <string.h>

#include "base/json.h"

int net_renew_request(const struct net_identity *identity, struct sk_buf *ret_json,
                      struct sk_err *err)
{
    struct sk_buf csr = SK_BUF_INIT;
    struct sk_jw w;
    int rc = net_csr_new(sk_str(identity->key_pem), identity->info.node, &csr, err);

    if (rc == 0) {
        sk_jw_init(&w, ret_json);
        sk_jw_obj(&w);
        sk_jw_kint(&w, "v", 1);
        sk_jw_kcstr(&w, "type", "renew");
        sk_jw_kstr(&w, "csr", sk_buf_str(&csr));
        sk_jw_obj_end(&w);
    }
    sk_buf_release(&csr);
    return rc;
}

int net_renew_finish(const struct net_identity *identity, const struct net_frame *renewed,
                     struct net_identity *ret, struct sk_err *err)
{
    struct net_identity next = {0};
    int rc =
        net_identity_make(sk_str(identity->key_pem), sk_map_str(renewed->tree, "cert", SK_STR_NULL),
                          sk_str(identity->ca_pem), &next, err);

    if (rc < 0) {
        (void)sk_err_wrap(err, "renewed certificate");
        return rc;
    }
    if (strcmp(next.info.node, identity->info.node) != 0 ||
        strcmp(next.info.cluster, identity->info.cluster) != 0) {
        (void)sk_err_set(err, SK_ERR_PROTOCOL, "the renewed certificate is for node '%s' of '%s'",
                         next.info.node, next.info.cluster);
        net_identity_release(&next);
        return SK_ERR_PROTOCOL;
    }
    *ret = next;
    return 0;
}
