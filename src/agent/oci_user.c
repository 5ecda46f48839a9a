/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oci_config.h"

#include "base/units.h"

/* One line of a colon-separated file with this value in field `key` (by name: 0, by number: 2). */
static bool find_line(struct sk_str file, struct sk_str value, int key, struct sk_str fields[4])
{
    struct sk_str line, rest = file;

    while (rest.len > 0) {
        (void)sk_str_cut(rest, '\n', &line, &rest);
        for (int i = 0; i < 4; i++) {
            (void)sk_str_cut(line, ':', &fields[i], &line);
        }
        if (fields[0].len > 0 && sk_str_eq(fields[key], value)) {
            return true;
        }
    }
    return false;
}

static bool number(struct sk_str s, int64_t *ret)
{
    return sk_parse_int(s, 0, INT32_MAX, ret, NULL) == 0;
}

static bool member_of(struct sk_str members, struct sk_str name)
{
    struct sk_str one, rest = members;

    while (rest.len > 0) {
        (void)sk_str_cut(rest, ',', &one, &rest);
        if (sk_str_eq(one, name)) {
            return true;
        }
    }
    return false;
}

static void add_groups(struct sk_str name, struct sk_str group, struct oci_user *user)
{
    struct sk_str line, rest = group;

    while (rest.len > 0 && user->ngroups < OCI_GROUPS_MAX) {
        struct sk_str fields[4];
        int64_t gid;
        (void)sk_str_cut(rest, '\n', &line, &rest);
        for (int i = 0; i < 4; i++) {
            (void)sk_str_cut(line, ':', &fields[i], &line);
        }
        if (number(fields[2], &gid) && member_of(fields[3], name)) {
            user->groups[user->ngroups++] = (gid_t)gid;
        }
    }
}

int oci_find_user(struct sk_str user, struct sk_str passwd, struct sk_str group,
                  struct oci_user *ret, struct sk_err *err)
{
    struct sk_str name, group_name, fields[4];
    struct oci_user u = {0};
    bool has_group = sk_str_cut(user, ':', &name, &group_name);
    int64_t uid = 0, gid = 0;

    if (name.len == 0) {
        name = SK_STR("0");
    }
    if (find_line(passwd, name, 0, fields) || find_line(passwd, name, 2, fields)) {
        if (!number(fields[2], &uid) || !number(fields[3], &gid)) {
            return sk_err_set(err, SK_ERR_INPUT, "the image's /etc/passwd is not valid");
        }
        if (!has_group) {
            add_groups(fields[0], group, &u);
        }
    } else if (!number(name, &uid)) {
        return sk_err_set(err, SK_ERR_INPUT, "user '%.*s' does not exist in the image",
                          SK_PRI(name));
    }
    if (has_group) {
        bool found =
            find_line(group, group_name, 0, fields) || find_line(group, group_name, 2, fields);
        if (!number(found ? fields[2] : group_name, &gid)) {
            return sk_err_set(err, SK_ERR_INPUT, "group '%.*s' does not exist in the image",
                              SK_PRI(group_name));
        }
    }
    u.uid = (uid_t)uid;
    u.gid = (gid_t)gid;
    *ret = u;
    return 0;
}
