/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress_config.h"

#include <stdio.h>

/*
 * A service NAME is four backends:
 *     be.NAME   what users reach: local replicas, and other sites as backups, nearest first
 *     in.NAME   what other sites reach: local replicas only, so that a request takes one hop at
 * most rm.NAME   the checks of the other sites, which be.NAME's backups follow ck.NAME   answers
 * such a check of another site: 200 while a local replica is up The check of a local replica is
 * made once, in be.NAME; in.NAME follows it.
 */
#define CHECK_MS 250
#define CONNECT_MS 300

void ingress_service_name(const struct ingress_service *s, char out[160])
{
    if (s->port == 0) {
        (void)snprintf(out, 160, "%.*s.%.*s.http", SK_PRI(s->project), SK_PRI(s->service));
    } else {
        (void)snprintf(out, 160, "%.*s.%.*s.p%u", SK_PRI(s->project), SK_PRI(s->service), s->port);
    }
}

/* 2.5 round trips, and never less than `least`. */
static unsigned patience_ms(double rtt_ms, unsigned least)
{
    double ms = rtt_ms > 0 && rtt_ms < 10000 ? rtt_ms * 2.5 : 0;
    return ms > least ? (unsigned)ms + 1 : least;
}

static double farthest_ms(const struct ingress_service *s)
{
    double ms = 0;
    for (size_t i = 0; i < s->nremote; i++) {
        ms = s->remote[i].rtt_ms > ms ? s->remote[i].rtt_ms : ms;
    }
    return ms;
}

static void write_global(const struct ingress_config *c, struct sk_buf *out)
{
    sk_buf_printf(out,
                  "# Written by skerry; changes are overwritten. Certificates: generation %u.\n"
                  "global\n"
                  "    nbthread 1\n"
                  "    hard-stop-after 10s\n"
                  "    stats socket %s/admin.sock mode 600 level admin expose-fd listeners\n"
                  "    ssl-default-bind-options ssl-min-ver TLSv1.3\n"
                  "    ssl-default-server-options ssl-min-ver TLSv1.3\n"
                  "    spread-checks 5\n"
                  "\n"
                  "defaults\n"
                  "    timeout client 60s\n"
                  "    timeout server 60s\n"
                  "    timeout connect %dms\n"
                  "    timeout queue 1s\n"
                  "    timeout http-request 10s\n"
                  "    timeout http-keep-alive 10s\n"
                  "    timeout tunnel 1h\n"
                  "    option idle-close-on-response\n"
                  "    option redispatch 1\n"
                  "    retries 3\n"
                  "\n",
                  c->generation, c->dir, CONNECT_MS);
}

/* Which service another site means it says by ALPN: SNI cannot say it, because HAProxy holds the
 * certificate against that, and the certificate names the node. */
static void write_alpn(const struct ingress_view *view, struct sk_buf *out)
{
    for (size_t i = 0; i < view->nservices; i++) {
        char name[160];
        ingress_service_name(&view->services[i], name);
        sk_buf_printf(out, "%sin.%s,ck.%s", i == 0 ? " alpn " : ",", name, name);
    }
}

static void write_frontends(const struct ingress_config *c, const struct ingress_view *view,
                            struct sk_buf *out)
{
    const char *at = c->bind_address != NULL && c->bind_address[0] != '\0' ? c->bind_address : "*";
    sk_buf_printf(out,
                  "frontend fe.http\n"
                  "    mode http\n"
                  "    bind %s:%u\n"
                  "    option forwardfor\n"
                  "    http-request del-header x-skerry- -m beg\n"
                  "    http-response set-header X-Skerry-Ingress %.*s\n"
                  "    use_backend %%[req.hdr(host),field(1,:),lower,map_str(%s/hosts.map,none)]\n"
                  "    default_backend none\n"
                  "\n"
                  "backend none\n"
                  "    mode http\n"
                  "    http-request return status 404 content-type text/plain string \"no such "
                  "host\\n\"\n"
                  "\n",
                  at, c->http_port, SK_PRI(view->site), c->dir);
    if (c->identity) {
        sk_buf_printf(out,
                      "frontend fe.sites\n"
                      "    mode tcp\n"
                      "    no option idle-close-on-response\n"
                      "    bind %s:%u ssl crt %s/node.pem ca-file %s/ca.pem verify required",
                      at, c->inter_port, c->dir, c->dir);
        write_alpn(view, out);
        sk_buf_printf(out,
                      "\n    tcp-request content reject if { ssl_c_serial,hex -m str -i -f "
                      "%s/revoked.lst }\n"
                      "    use_backend %%[ssl_fc_alpn,map_str(%s/names.map,none)]\n"
                      "    default_backend none\n"
                      "\n",
                      c->dir, c->dir);
    }
    for (size_t i = 0; i < view->nservices; i++) {
        const struct ingress_service *s = &view->services[i];
        if (s->port != 0) {
            char name[160];
            ingress_service_name(s, name);
            sk_buf_printf(out,
                          "frontend fe.p%u\n"
                          "    mode tcp\n"
                          "    bind %s:%u\n"
                          "    default_backend be.%s\n"
                          "\n",
                          s->port, at, s->port, name);
        }
    }
}

static void write_tls(const struct ingress_config *c, const struct ingress_remote *r,
                      struct sk_buf *out)
{
    sk_buf_printf(out, " ssl crt %s/node.pem ca-file %s/ca.pem verify required verifyhost %.*s",
                  c->dir, c->dir, SK_PRI(r->node));
}

/* The servers that stand for endpoints. A free one waits in maintenance at an address that is
 * nobody's. */
static void write_slots(const struct ingress_slots *slots, bool with_endpoints, const char *more,
                        const char *follow, struct sk_buf *out)
{
    for (size_t i = 0; i < slots->count; i++) {
        const struct ingress_slot *slot = &slots->items[i];
        bool used = with_endpoints && slot->state == SLOT_USED;
        sk_buf_printf(out, "    server s%zu %s:%u weight %u", i + 1,
                      used ? slot->address : "127.0.0.1", used ? slot->port : 1U,
                      used ? slot->weight : 100U);
        if (follow != NULL) {
            sk_buf_printf(out, " track %s/s%zu", follow, i + 1);
        } else {
            sk_buf_printf(out, "%s%s", more, used ? "" : " disabled");
        }
        sk_buf_adds(out, " pool-max-conn 0 on-marked-down shutdown-sessions\n");
    }
}

/* Only what may safely be done twice is tried again after it was sent. A connection to another
 * site costs a TLS handshake and round trips, so it is kept and shared between users; its far end
 * is our own, which keeps it for longer than we do. One to a replica is never shared: replicas may
 * close theirs whenever they like. */
static void write_mode(const struct ingress_service *s, struct sk_buf *out)
{
    if (s->port != 0) {
        sk_buf_adds(out, "    mode tcp\n    balance roundrobin\n");
        return;
    }
    sk_buf_adds(out, "    mode http\n"
                     "    balance roundrobin\n"
                     "    http-reuse always\n"
                     "    retry-on conn-failure empty-response\n"
                     "    http-request disable-l7-retry unless METH_GET\n");
}

/* Bytes that mean something to the configuration's reader, as it wants them. */
static void write_escaped(struct sk_str s, struct sk_buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("/._~-?=&+:@", c) != NULL);
        if (plain) {
            sk_buf_addc(out, (char)c);
        } else {
            sk_buf_printf(out, "\\x%02x", c);
        }
    }
}

static void write_check(const struct ingress_service *s, struct sk_buf *out)
{
    if (s->check.len > 0) {
        sk_buf_adds(out, "    option httpchk\n    http-check send meth GET uri ");
        write_escaped(s->check, out);
        sk_buf_printf(out,
                      " ver HTTP/1.1 hdr Host %.*s hdr Connection close\n"
                      "    http-check expect status 200-399\n",
                      SK_PRI(s->host.len > 0 ? s->host : SK_STR("skerry.internal")));
    }
}

static void write_backends(const struct ingress_config *c, const struct ingress_service *s,
                           const struct ingress_slots *slots, bool with_endpoints,
                           struct sk_buf *out)
{
    char name[160];
    char follow[180];
    ingress_service_name(s, name);
    (void)snprintf(follow, sizeof(follow), "be.%s", name);
    sk_buf_printf(out, "backend be.%s\n", name);
    write_mode(s, out);
    write_check(s, out);
    sk_buf_printf(out, "    timeout connect %ums\n    timeout check %ums\n",
                  CONNECT_MS + patience_ms(farthest_ms(s), 0), CHECK_MS);
    write_slots(slots, with_endpoints,
                " check inter 250ms fastinter 50ms downinter 250ms fall 2 rise 1"
                " observe layer4 error-limit 1 on-error fastinter",
                NULL, out);
    for (size_t i = 0; c->identity && i < s->nremote; i++) {
        const struct ingress_remote *r = &s->remote[i];
        bool six = memchr(r->address.ptr, ':', r->address.len) != NULL;
        sk_buf_printf(out, "    server r.%.*s %s%.*s%s:%u backup track rm.%s/r.%.*s",
                      SK_PRI(r->site), six ? "[" : "", SK_PRI(r->address), six ? "]" : "",
                      c->inter_port, name, SK_PRI(r->site));
        write_tls(c, r, out);
        sk_buf_printf(out, " alpn in.%s pool-purge-delay 2s on-marked-down shutdown-sessions\n",
                      name);
    }
    if (!c->identity) {
        sk_buf_adds(out, "\n");
        return;
    }
    sk_buf_printf(out, "\nbackend in.%s\n", name);
    write_mode(s, out);
    sk_buf_printf(out, "    timeout connect %dms\n", CONNECT_MS);
    write_slots(slots, with_endpoints, "", follow, out);
    sk_buf_printf(
        out,
        "\nbackend ck.%s\n"
        "    mode http\n"
        "    http-request return status 200 content-type text/plain string \"up\\n\" if { "
        "nbsrv(in.%s) gt 0 }\n"
        "    http-request return status 503 content-type text/plain string \"down\\n\"\n\n",
        name, name);
}

static void write_site_checks(const struct ingress_config *c, const struct ingress_service *s,
                              struct sk_buf *out)
{
    char name[160];
    if (!c->identity || s->nremote == 0) {
        return;
    }
    ingress_service_name(s, name);
    sk_buf_printf(out,
                  "backend rm.%s\n"
                  "    mode http\n"
                  "    option httpchk\n"
                  "    http-check send meth GET uri /up ver HTTP/1.1 hdr Host skerry.internal hdr "
                  "Connection close\n"
                  "    http-check expect status 200\n"
                  "    timeout connect %ums\n"
                  "    timeout check %ums\n",
                  name, CONNECT_MS + patience_ms(farthest_ms(s), 0),
                  patience_ms(farthest_ms(s), CHECK_MS));
    for (size_t i = 0; i < s->nremote; i++) {
        const struct ingress_remote *r = &s->remote[i];
        unsigned inter = patience_ms(r->rtt_ms, CHECK_MS);
        bool six = memchr(r->address.ptr, ':', r->address.len) != NULL;
        sk_buf_printf(out, "    server r.%.*s %s%.*s%s:%u check inter %ums fall 2 rise 1",
                      SK_PRI(r->site), six ? "[" : "", SK_PRI(r->address), six ? "]" : "",
                      c->inter_port, inter);
        write_tls(c, r, out);
        sk_buf_printf(out, " check-alpn ck.%s\n", name);
    }
    sk_buf_adds(out, "\n");
}

void ingress_config_write(const struct ingress_config *config, const struct ingress_view *view,
                          const struct ingress_slots *slots, bool with_endpoints,
                          struct sk_buf *out)
{
    write_global(config, out);
    write_frontends(config, view, out);
    for (size_t i = 0; i < view->nservices; i++) {
        write_backends(config, &view->services[i], &slots[i], with_endpoints, out);
        write_site_checks(config, &view->services[i], out);
    }
}

static void add_lower(struct sk_buf *out, struct sk_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        sk_buf_addc(out, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
}

void ingress_hosts_write(const struct ingress_view *view, struct sk_buf *out)
{
    for (size_t i = 0; i < view->nservices; i++) {
        char name[160];
        if (view->services[i].port != 0) {
            continue;
        }
        ingress_service_name(&view->services[i], name);
        add_lower(out, view->services[i].host);
        sk_buf_printf(out, " be.%s\n", name);
    }
}

void ingress_names_write(const struct ingress_view *view, struct sk_buf *out)
{
    static const char *const kinds[] = {"in", "ck"};
    for (size_t i = 0; i < view->nservices; i++) {
        char name[160];
        ingress_service_name(&view->services[i], name);
        for (size_t k = 0; k < 2; k++) {
            sk_buf_printf(out, "%s.%s %s.%s\n", kinds[k], name, kinds[k], name);
        }
    }
}
