/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>

#include "base/json.h"
#include "base/tree.h"
#include "lab/load.h"

static const char *text_of(struct sk_arena *arena, const struct sk_node *map, const char *key,
                           const char *dflt)
{
    struct sk_str s = sk_map_str(map, key, SK_STR_NULL);
    return s.ptr != NULL ? sk_arena_str(arena, s).ptr : dflt;
}

/* What goes into a request line or header must not be able to end it. */
static bool is_plain(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s <= ' ' || *s > '~') {
            return false;
        }
    }
    return true;
}

static int read_ingress(struct sk_arena *arena, const struct sk_node *node,
                        struct load_ingress *ret, struct sk_err *err)
{
    const char *address = text_of(arena, node, "address", "");
    int64_t port = sk_map_int(node, "port", 80);
    ret->site = text_of(arena, node, "site", "");
    ret->address.sin_family = AF_INET;
    ret->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, address, &ret->address.sin_addr) != 1 || port < 1 || port > 65535 ||
        !is_plain(ret->site)) {
        return sk_err_set(err, SK_ERR_INPUT, "an ingress needs site, IPv4 address and port");
    }
    return 0;
}

static int read_population(struct sk_arena *arena, const struct sk_node *node,
                           struct load_population *ret, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(node, "ingress");
    ret->name = text_of(arena, node, "name", "users");
    ret->share = sk_map_num(node, "share", 1);
    ret->netns = text_of(arena, node, "netns", NULL);
    if (list == NULL || list->count == 0 || list->count > LOAD_INGRESS_MAX || !(ret->share >= 0) ||
        !is_plain(ret->name)) {
        return sk_err_set(err, SK_ERR_INPUT, "population '%s' needs a share and 1 to %d ingresses",
                          ret->name, LOAD_INGRESS_MAX);
    }
    ret->ningress = list->count;
    for (size_t i = 0; i < list->count; i++) {
        int bad = read_ingress(arena, &list->u.items[i], &ret->ingress[i], err);
        if (bad < 0) {
            (void)sk_err_wrap(err, "population '%s'", ret->name);
            return bad;
        }
    }
    return 0;
}

static int check(const struct load_options *o, struct sk_err *err)
{
    double shares = 0;
    for (size_t i = 0; i < o->npopulations; i++) {
        shares += o->populations[i].share;
    }
    if (!(o->rate > 0) || o->rate > LOAD_RATE_MAX || !(o->seconds >= 0) || o->seconds > 1e6 ||
        o->next_ms < 1 || o->timeout_ms < 1 || o->timeout_ms > 60000 || !(shares > 0)) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "rate (0 to %.0f), seconds, next_ms, timeout_ms (1 to 60000) or shares "
                          "are out of range",
                          LOAD_RATE_MAX);
    }
    if (!is_plain(o->host) || o->path[0] != '/' || !is_plain(o->path)) {
        return sk_err_set(err, SK_ERR_INPUT, "host or path hold bytes that no request line may");
    }
    return 0;
}

int load_options_read(struct sk_arena *arena, const char *name, struct sk_str json,
                      struct load_options *ret, struct sk_err *err)
{
    const struct sk_node *root = NULL;
    const struct sk_limits limits = {.bytes_max = 1 << 20, .nodes_max = 20000};
    int bad = sk_json_read(arena, name, json, &limits, &root, err);
    if (bad < 0) {
        return bad;
    }
    const struct sk_node *list = sk_map_seq(root, "populations");
    if (list == NULL || list->count == 0 || list->count > LOAD_POPULATIONS_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "%s: 'populations' needs 1 to %d entries", name,
                          LOAD_POPULATIONS_MAX);
    }
    struct load_options o = {
        .rate = sk_map_num(root, "rate", 300),
        .seconds = sk_map_num(root, "seconds", 60),
        .seed = (uint64_t)sk_map_int(root, "seed", 1),
        .host = text_of(arena, root, "host", "localhost"),
        .path = text_of(arena, root, "path", "/"),
        .keep_alive = sk_map_bool(root, "keep_alive", false),
        .next_ms = sk_map_int(root, "next_ms", 300),
        .timeout_ms = sk_map_int(root, "timeout_ms", 1000),
        .npopulations = list->count,
        .csv = text_of(arena, root, "csv", NULL),
        .control = text_of(arena, root, "control", NULL),
    };
    o.populations = SK_ARENA_ARRAY(arena, struct load_population, list->count);
    for (size_t i = 0; bad == 0 && i < list->count; i++) {
        bad = read_population(arena, &list->u.items[i], &o.populations[i], err);
    }
    if (bad < 0 || (bad = check(&o, err)) < 0) {
        (void)sk_err_wrap(err, "%s", name);
        return bad;
    }
    *ret = o;
    return 0;
}
