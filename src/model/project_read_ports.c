/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/units.h"
#include "model/compose_keys.h"
#include "model/project_draft.h"

/* `ports` and `expose`, short and long, with ranges. */

struct range {
    uint16_t first;
    uint16_t last;
};

struct port_list {
    struct port *items; /* heap */
    size_t count;
    size_t cap;
};

/* One entry before it is spread over its range. */
struct mapping {
    struct range target;
    struct range published; /* 0-0: none */
    bool udp;
};

static int parse_range(struct rd *rd, const struct spot *at, struct sk_str text, struct range *ret)
{
    struct sk_str first;
    struct sk_str last;
    int64_t a = 0;
    int64_t b = 0;

    if (!sk_str_cut(text, '-', &first, &last)) {
        last = first;
    }
    if (sk_parse_int(first, 1, 65535, &a, NULL) < 0 || sk_parse_int(last, 1, 65535, &b, NULL) < 0 ||
        b < a) {
        return rd_bad(rd, at, "has '%.*s', which is neither a port nor a range of ports",
                      SK_PRI(text));
    }
    *ret = (struct range){(uint16_t)a, (uint16_t)b};
    return 0;
}

static int parse_protocol(struct rd *rd, const struct spot *at, struct sk_str text, bool *ret_udp)
{
    if (!sk_str_is(text, "tcp") && !sk_str_is(text, "udp")) {
        return rd_bad(rd, at, "has the protocol '%.*s', expected tcp or udp", SK_PRI(text));
    }
    *ret_udp = sk_str_is(text, "udp");
    return 0;
}

static int check_host(struct rd *rd, const struct spot *at, struct sk_str host)
{
    if (sk_str_is(host, "0.0.0.0") || sk_str_is(host, "[::]") || sk_str_is(host, "::")) {
        return 0;
    }
    (void)rd_bad(rd, at, "binds the host address '%.*s', which is not supported by skerry yet",
                 SK_PRI(host));
    rd->err.code = SK_ERR_UNSUPPORTED;
    return sk_err_fix(&rd->err, "leave the address out; use 'expose' for ports that stay inside");
}

static const char *last_colon(struct sk_str text)
{
    for (size_t i = text.len; i-- > 0;) {
        if (text.ptr[i] == ':') {
            return text.ptr + i;
        }
    }
    return NULL;
}

/* [HOST:][PUBLISHED:]TARGET[/PROTOCOL] */
static int parse_short(struct rd *rd, const struct spot *at, struct sk_str text,
                       struct mapping *ret)
{
    struct sk_str rest;
    struct sk_str protocol;
    const char *colon;

    if (sk_str_cut(text, '/', &rest, &protocol) &&
        parse_protocol(rd, at, protocol, &ret->udp) < 0) {
        return rd->err.code;
    }
    colon = last_colon(rest);
    if (!colon) {
        return parse_range(rd, at, rest, &ret->target);
    }
    if (parse_range(rd, at, (struct sk_str){colon + 1, (size_t)(rest.ptr + rest.len - colon - 1)},
                    &ret->target) < 0) {
        return rd->err.code;
    }
    rest.len = (size_t)(colon - rest.ptr);
    colon = last_colon(rest);
    if (colon) {
        struct sk_str host = {rest.ptr, (size_t)(colon - rest.ptr)};
        if (check_host(rd, at, host) < 0) {
            return rd->err.code;
        }
        rest = (struct sk_str){colon + 1, rest.len - host.len - 1};
    }
    return rest.len ? parse_range(rd, at, rest, &ret->published) : 0;
}

/* Long form ------------------------------------------------------------------------------- */

static int read_target(struct rd *rd, const struct spot *at, void *into)
{
    struct mapping *mapping = into;

    if (rd_port(rd, at, &mapping->target.first) < 0) {
        return rd->err.code;
    }
    mapping->target.last = mapping->target.first;
    return 0;
}

static int read_published(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_scalar(rd, at, &text) < 0) {
        return rd->err.code;
    }
    return parse_range(rd, at, text, &((struct mapping *)into)->published);
}

static int read_protocol(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    return parse_protocol(rd, at, text, &((struct mapping *)into)->udp);
}

static int read_host_ip(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;
    return rd_string(rd, at, &text) < 0 ? rd->err.code : check_host(rd, at, text);
}

static int read_mode(struct rd *rd, const struct spot *at, void *into)
{
    struct sk_str text;

    if (rd_string(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (!sk_str_is(text, "ingress")) {
        (void)rd_bad(rd, at, "is '%.*s', but only ingress is supported by skerry yet",
                     SK_PRI(text));
        rd->err.code = SK_ERR_UNSUPPORTED;
        return sk_err_fix(&rd->err, "remove the key");
    }
    return 0;
}

static const struct rd_key port_keys[] = {
    {"target", RD_EXECUTED, read_target, "port inside the replica; required", NULL},
    {"published", RD_EXECUTED, read_published, "port outside", NULL},
    {"protocol", RD_EXECUTED, read_protocol, "tcp (default) or udp",
     "a published udp port is planned only"},
    {"host_ip", RD_EXECUTED, read_host_ip, "0.0.0.0", NULL},
    {"mode", RD_EXECUTED, read_mode, "ingress", NULL},
};
const struct rd_object port_object = {.place = "services.*.ports[]",
                                      .keys = port_keys,
                                      .nkeys = SK_ARRAY_LEN(port_keys),
                                      .known = compose_port_keys,
                                      .extensions = true};

/* Both ------------------------------------------------------------------------------------ */

static int spread(struct rd *rd, const struct spot *at, const struct mapping *mapping,
                  struct port_list *list)
{
    uint32_t count = mapping->target.last - mapping->target.first + 1u;
    bool published = mapping->published.first != 0;

    if (published && mapping->published.last - mapping->published.first + 1u != count) {
        return rd_bad(rd, at, "maps ranges of different lengths");
    }
    if (count > PROJECT_PORTS_MAX - list->count) {
        return rd_bad(rd, at, "makes more than %d ports", PROJECT_PORTS_MAX);
    }
    if (published && mapping->udp && rd->for_apply) {
        (void)rd_bad(rd, at,
                     "publishes a udp port, which can be planned, but not applied by skerry "
                     "yet");
        rd->err.code = SK_ERR_UNSUPPORTED;
        return sk_err_fix(&rd->err, "publish tcp, or leave the published port out");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct port port = {.target = (uint16_t)(mapping->target.first + i),
                            .published = (uint16_t)(published ? mapping->published.first + i : 0),
                            .udp = mapping->udp,
                            .pos = spot_pos(rd, at)};
        for (size_t k = 0; k < list->count; k++) {
            const struct port *other = &list->items[k];
            if (other->udp == port.udp &&
                (published ? other->published == port.published
                           : !other->published && other->target == port.target)) {
                return rd_bad(rd, at, "has the port %u twice",
                              published ? port.published : port.target);
            }
        }
        SK_GROW(list->items, list->count, list->cap);
        list->items[list->count++] = port;
    }
    return 0;
}

static int read_port_entry(struct rd *rd, const struct spot *at, void *into)
{
    struct mapping mapping = {0};
    struct sk_str text;

    if (at->node->kind == SK_MAP) {
        if (rd_object_read(rd, at, &port_object, &mapping) < 0) {
            return rd->err.code;
        }
        if (mapping.target.first == 0) {
            return rd_bad(rd, at, "lacks 'target'");
        }
    } else if (rd_scalar(rd, at, &text) < 0 || parse_short(rd, at, text, &mapping) < 0) {
        return rd->err.code;
    }
    return spread(rd, at, &mapping, into);
}

int read_ports(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct port_list list = {0};
    struct port *ports;

    if (rd_want(rd, at, SK_SEQ) < 0 || rd_each(rd, at, read_port_entry, &list) < 0) {
        free(list.items);
        return rd->err.code;
    }
    ports = SK_ARENA_ARRAY(rd->arena, struct port, list.count);
    if (list.count) {
        memcpy(ports, list.items, list.count * sizeof(*ports));
    }
    draft->svc.ports = ports;
    draft->svc.nports = list.count;
    free(list.items);
    return 0;
}

/* expose ---------------------------------------------------------------------------------- */

static int read_expose_entry(struct rd *rd, const struct spot *at, void *into)
{
    struct port_list *list = into;
    struct mapping mapping = {0};
    struct sk_str text;
    struct sk_str rest;
    struct sk_str protocol;

    if (rd_scalar(rd, at, &text) < 0) {
        return rd->err.code;
    }
    if (sk_str_cut(text, '/', &rest, &protocol) && !sk_str_is(protocol, "tcp")) {
        return rd_bad(rd, at, "has the protocol '%.*s', expected tcp", SK_PRI(protocol));
    }
    if (parse_range(rd, at, rest, &mapping.target) < 0) {
        return rd->err.code;
    }
    return spread(rd, at, &mapping, list);
}

int read_expose(struct rd *rd, const struct spot *at, void *into)
{
    struct service_draft *draft = into;
    struct port_list list = {0};
    uint16_t *ports;

    if (rd_want(rd, at, SK_SEQ) < 0 || rd_each(rd, at, read_expose_entry, &list) < 0) {
        free(list.items);
        return rd->err.code;
    }
    ports = SK_ARENA_ARRAY(rd->arena, uint16_t, list.count);
    for (size_t i = 0; i < list.count; i++) {
        ports[i] = list.items[i].target;
    }
    draft->svc.expose = ports;
    draft->svc.nexpose = list.count;
    free(list.items);
    return 0;
}
