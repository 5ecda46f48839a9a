/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>

#include "net/ingress.h"
#include "net/ingress_config.h"

/* ---- checking ---- */

/* Letters, digits and `more`: nothing that could end a word, a line or a quote. */
static bool is_made_of(struct sk_str s, size_t max, const char *more)
{
    if (s.len == 0 || s.len > max) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr(more, c) == NULL)) {
            return false;
        }
    }
    return true;
}

static bool is_address(struct sk_str s)
{
    char text[46];
    unsigned char bytes[16];
    if (s.len == 0 || s.len >= sizeof(text) || memchr(s.ptr, '\0', s.len) != NULL) {
        return false;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool is_host(struct sk_str s)
{
    return is_made_of(s, 253, ".-") && s.ptr[0] != '.' && s.ptr[0] != '-';
}

/* Any bytes that a request line may hold; the configuration's writer escapes them. */
static bool is_check_path(struct sk_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 127) {
            return false;
        }
    }
    return s.len == 0 || (s.ptr[0] == '/' && s.len <= 1024);
}

static int bad(struct sk_err *err, const struct ingress_service *s, const char *what,
               struct sk_str value)
{
    return sk_err_set(err, SK_ERR_INPUT, "service '%.*s': %s '%.*s' cannot be routed",
                      SK_PRI(s->service), what, SK_PRI(value));
}

static int check_service(const struct ingress_service *s, struct sk_err *err)
{
    if (!is_made_of(s->project, 63, "_-")) {
        return bad(err, s, "project", s->project);
    }
    if (!is_made_of(s->service, 63, "_-")) {
        return bad(err, s, "name", s->service);
    }
    if (s->port == 0 && !is_host(s->host)) {
        return bad(err, s, "host", s->host);
    }
    if (!is_check_path(s->check)) {
        return bad(err, s, "check path", s->check);
    }
    if (s->nlocal > INGRESS_ENDPOINTS_MAX || s->nremote > INGRESS_REMOTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "service '%.*s' has too many endpoints or sites",
                          SK_PRI(s->service));
    }
    for (size_t i = 0; i < s->nlocal; i++) {
        const struct ingress_endpoint *e = &s->local[i];
        if (!is_made_of(e->id, 64, "_-") || e->port == 0 || e->weight < 1 || e->weight > 256) {
            return bad(err, s, "endpoint", e->id);
        }
        if (!is_address(e->address)) {
            return bad(err, s, "address", e->address);
        }
    }
    for (size_t i = 0; i < s->nremote; i++) {
        if (!sk_str_is_label(s->remote[i].site)) {
            return bad(err, s, "site", s->remote[i].site);
        }
        if (!sk_str_is_label(s->remote[i].node)) {
            return bad(err, s, "node", s->remote[i].node);
        }
        if (!is_address(s->remote[i].address)) {
            return bad(err, s, "address", s->remote[i].address);
        }
    }
    return 0;
}

int ingress_view_check(const struct ingress_view *view, struct sk_err *err)
{
    if (!sk_str_is_label(view->site)) {
        return sk_err_set(err, SK_ERR_INPUT, "a routing view of site '%.*s'", SK_PRI(view->site));
    }
    if (view->nservices > INGRESS_SERVICES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d routes and ports", INGRESS_SERVICES_MAX);
    }
    for (size_t i = 0; i < view->nservices; i++) {
        int ret = check_service(&view->services[i], err);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- reading ---- */

static int read_number(const struct sk_node *node, const char *key, int64_t dflt, uint16_t *ret,
                       struct sk_err *err)
{
    int64_t n = sk_map_int(node, key, dflt);
    if (n < 0 || n > 65535) {
        return sk_err_set(err, SK_ERR_INPUT, "'%s' of a routing view is out of range", key);
    }
    *ret = (uint16_t)n;
    return 0;
}

static struct sk_str text_of(struct sk_arena *arena, const struct sk_node *node, const char *key)
{
    return sk_arena_str(arena, sk_map_str(node, key, SK_STR("")));
}

static int read_local(struct sk_arena *arena, const struct sk_node *list, struct ingress_service *s,
                      struct sk_err *err)
{
    size_t count = list != NULL ? list->count : 0;
    if (count > INGRESS_ENDPOINTS_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d endpoints", INGRESS_ENDPOINTS_MAX);
    }
    struct ingress_endpoint *items = SK_ARENA_ARRAY(arena, struct ingress_endpoint, count + 1);
    for (size_t i = 0; i < count; i++) {
        const struct sk_node *e = &list->u.items[i];
        items[i].id = text_of(arena, e, "id");
        items[i].address = text_of(arena, e, "address");
        int ret = read_number(e, "port", 0, &items[i].port, err);
        if (ret == 0) {
            ret = read_number(e, "weight", 100, &items[i].weight, err);
        }
        if (ret < 0) {
            return ret;
        }
    }
    s->local = items;
    s->nlocal = count;
    return 0;
}

static int read_remote(struct sk_arena *arena, const struct sk_node *list,
                       struct ingress_service *s, struct sk_err *err)
{
    size_t count = list != NULL ? list->count : 0;
    if (count > INGRESS_REMOTES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d sites", INGRESS_REMOTES_MAX);
    }
    struct ingress_remote *items = SK_ARENA_ARRAY(arena, struct ingress_remote, count + 1);
    for (size_t i = 0; i < count; i++) {
        const struct sk_node *r = &list->u.items[i];
        items[i].site = text_of(arena, r, "site");
        items[i].node = text_of(arena, r, "node");
        items[i].address = text_of(arena, r, "address");
        items[i].rtt_ms = sk_map_num(r, "rtt_ms", -1);
    }
    s->remote = items;
    s->nremote = count;
    return 0;
}

static int read_service(struct sk_arena *arena, const struct sk_node *node, bool published,
                        struct ingress_service *s, struct sk_err *err)
{
    s->project = text_of(arena, node, "project");
    s->service = text_of(arena, node, "service");
    s->check = text_of(arena, node, "check");
    s->host = SK_STR("");
    int ret = 0;
    if (published) {
        ret = read_number(node, "port", 0, &s->port, err);
        if (ret == 0 && s->port == 0) {
            ret = sk_err_set(err, SK_ERR_INPUT, "a published port of a routing view is missing");
        }
    } else {
        s->host = text_of(arena, node, "host");
    }
    if (ret == 0) {
        ret = read_local(arena, sk_map_seq(node, "local"), s, err);
    }
    if (ret == 0) {
        ret = read_remote(arena, sk_map_seq(node, "remote"), s, err);
    }
    return ret;
}

static bool is_taken(const struct ingress_view *view, const struct ingress_service *s)
{
    for (size_t i = 0; i < view->nservices; i++) {
        const struct ingress_service *other = &view->services[i];
        bool same = sk_str_eq(other->project, s->project) && sk_str_eq(other->service, s->service);
        if (other->port == s->port && (s->port != 0 || same || sk_str_eq(other->host, s->host))) {
            return true;
        }
    }
    return false;
}

int ingress_view_read(struct sk_arena *arena, const struct sk_node *node, struct ingress_view *ret,
                      struct sk_err *err)
{
    static const char *const lists[] = {"routes", "published"};
    const struct sk_node *list[2];
    size_t count = 0;
    for (size_t k = 0; k < 2; k++) {
        list[k] = sk_map_seq(node, lists[k]);
        count += list[k] != NULL ? list[k]->count : 0;
    }
    if (count > INGRESS_SERVICES_MAX) {
        return sk_err_set(err, SK_ERR_LIMIT, "more than %d routes and ports", INGRESS_SERVICES_MAX);
    }
    struct ingress_view view = {.site = text_of(arena, node, "site")};
    view.services = SK_ARENA_ARRAY(arena, struct ingress_service, count + 1);
    for (size_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; list[k] != NULL && i < list[k]->count; i++) {
            const struct sk_node *item = &list[k]->u.items[i];
            struct ingress_service s = {0};
            struct sk_err why = {0};
            if (sk_map_bool(item, "udp", false)) {
                continue;
            }
            if (read_service(arena, item, k == 1, &s, &why) < 0 || check_service(&s, &why) < 0) {
                view.why = view.left_out == 0 ? why : view.why;
                view.left_out++;
            } else if (!is_taken(&view, &s)) {
                view.services[view.nservices++] = s;
            }
        }
    }
    int wrong = ingress_view_check(&view, err);
    if (wrong == 0) {
        *ret = view;
    }
    return wrong;
}

void ingress_view_copy(struct sk_arena *arena, const struct ingress_view *view,
                       struct ingress_view *ret)
{
    struct ingress_view copy = {.site = sk_arena_str(arena, view->site),
                                .nservices = view->nservices};
    copy.services = SK_ARENA_ARRAY(arena, struct ingress_service, view->nservices + 1);
    for (size_t i = 0; i < view->nservices; i++) {
        const struct ingress_service *from = &view->services[i];
        struct ingress_service *to = &copy.services[i];
        struct ingress_endpoint *local =
            SK_ARENA_ARRAY(arena, struct ingress_endpoint, from->nlocal + 1);
        struct ingress_remote *remote =
            SK_ARENA_ARRAY(arena, struct ingress_remote, from->nremote + 1);
        *to = *from;
        to->project = sk_arena_str(arena, from->project);
        to->service = sk_arena_str(arena, from->service);
        to->host = sk_arena_str(arena, from->host);
        to->check = sk_arena_str(arena, from->check);
        for (size_t k = 0; k < from->nlocal; k++) {
            local[k] = from->local[k];
            local[k].id = sk_arena_str(arena, from->local[k].id);
            local[k].address = sk_arena_str(arena, from->local[k].address);
        }
        for (size_t k = 0; k < from->nremote; k++) {
            remote[k] = from->remote[k];
            remote[k].site = sk_arena_str(arena, from->remote[k].site);
            remote[k].node = sk_arena_str(arena, from->remote[k].node);
            remote[k].address = sk_arena_str(arena, from->remote[k].address);
        }
        to->local = local;
        to->remote = remote;
    }
    *ret = copy;
}
