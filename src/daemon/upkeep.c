/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/upkeep.h"

#include "store/etcd_admin.h"

#define SLOW_MS 20000 /* what copies a member's file, or goes through all of it */

const char *upkeep_name(enum control_etcd_kind kind)
{
    switch (kind) {
    case CONTROL_ETCD_ADD:
        return "add";
    case CONTROL_ETCD_PROMOTE:
        return "promote";
    case CONTROL_ETCD_REMOVE:
        return "remove";
    case CONTROL_ETCD_COMPACT:
        return "compact";
    case CONTROL_ETCD_DEFRAGMENT:
        return "defragment";
    case CONTROL_ETCD_DISARM:
        return "disarm";
    case CONTROL_ETCD_LEAD:
        return "lead";
    }
    return "?";
}

/* Of one member alone. */
static int admin_of(const char *dir, const struct state_form *form, const char *url,
                    int64_t deadline_ms, struct store_etcd_admin **ret, struct sk_err *err)
{
    char paths[3][2 * STATE_PATH_SIZE];
    const char *urls[STORE_ETCD_ENDPOINTS_MAX];
    struct store_etcd options;

    state_form_options(dir, form, paths, urls, &options);
    urls[0] = url;
    options.nendpoints = 1;
    options.deadline_ms = deadline_ms;
    return store_etcd_admin_new(&options, ret, err);
}

static int disarm(struct store_etcd_admin *admin, struct sk_err *err)
{
    struct store_etcd_alarm alarms[STORE_ETCD_ALARMS_MAX];
    size_t count = 0;
    int rc = store_etcd_alarms(admin, alarms, &count, err);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (alarms[i].kind == STORE_ETCD_NOSPACE) { /* a damaged member is for a person */
            rc = store_etcd_disarm(admin, &alarms[i], err);
        }
    }
    return rc;
}

static int url_of(struct store_etcd_admin *admin, const char *id, char ret[STORE_ETCD_URL_SIZE],
                  struct sk_err *err)
{
    struct store_etcd_member list[STORE_ETCD_MEMBERS_MAX];
    size_t count = 0;
    int rc = store_etcd_members(admin, list, &count, err);

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].id, id) == 0 && list[i].client_url[0]) {
            memcpy(ret, list[i].client_url, STORE_ETCD_URL_SIZE);
            return 0;
        }
    }
    return sk_err_set(err, SK_ERR_UNAVAILABLE, "etcd's leader is not among its members");
}

/* Only the one that leads can hand it on. */
static int lead(const char *dir, const struct state_form *form, struct store_etcd_admin *to,
                struct sk_err *err)
{
    struct store_etcd_admin *from = NULL;
    struct store_etcd_status status;
    char url[STORE_ETCD_URL_SIZE];
    int rc = store_etcd_status(to, 0, &status, err);

    if (rc == 0 && strcmp(status.leader, status.member) == 0) {
        return 0;
    }
    rc = rc < 0 ? rc : url_of(to, status.leader, url, err);
    rc = rc < 0 ? rc : admin_of(dir, form, url, 0, &from, err);
    rc = rc < 0 ? rc : store_etcd_lead(from, 0, status.member, err);
    store_etcd_admin_free(from);
    return rc;
}

int upkeep_run(const char *dir, const struct state_form *form, enum control_etcd_kind kind,
               const char *url, int64_t keep, struct sk_err *err)
{
    bool slow = kind == CONTROL_ETCD_COMPACT || kind == CONTROL_ETCD_DEFRAGMENT;
    struct store_etcd_admin *admin = NULL;
    int rc = admin_of(dir, form, url, slow ? SLOW_MS : 0, &admin, err);

    if (rc == 0) {
        rc = kind == CONTROL_ETCD_COMPACT      ? store_etcd_compact(admin, 0, keep, err)
             : kind == CONTROL_ETCD_DEFRAGMENT ? store_etcd_defragment(admin, 0, err)
             : kind == CONTROL_ETCD_DISARM     ? disarm(admin, err)
                                               : lead(dir, form, admin, err);
    }
    store_etcd_admin_free(admin);
    return rc;
}
