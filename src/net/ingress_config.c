/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ingress_config.h"

#include <stdio.h>

/*
 * A service NAME is up to four backends:
 *
 *     be.NAME   what users reach: local replicas, and other sites as backups, nearest first
 *     in.NAME   what other sites reach: local replicas only, so that a request takes one hop
 *     rm.NAME   the checks of the other sites, which be.NAME's backups follow
 *     ck.NAME   of a published port: answers such a check of another site
 *
 * The check of a local replica is made once, in be.NAME; in.NAME follows it. The check of another
 * site must go the way that users' requests would go, over the same kept connections: rm.NAME asks
 * our own listener checks.sock, which passes it to be.NAME, where it may use that site's server
 * only, even when that is down; in.NAME there answers it. So a connection and a TLS session are
 * there before the first user needs them. A connection to a published port is its user's alone:
 * there the check makes its own.
 */
#define CHECK_MS 250
/* Dead processes are found by their users' connections; checks are for the silent. Two that fail in
 * a row happen to the living on a busy machine, and to be down costs all that is being answered. */
#define FALL 3
#define CONNECT_MS 300
/* Two failures take a replica out, so two dead ones cost a request four of its six attempts. */
#define RETRIES 5

void ingress_service_name(const struct ingress_service *s, char out[160])
{
    if (s->port == 0) {
        (void)snprintf(out, 160, "%.*s.%.*s.http", SK_PRI(s->project), SK_PRI(s->service));
    } else {
        (void)snprintf(out, 160, "%.*s.%.*s.p%u", SK_PRI(s->project), SK_PRI(s->service), s->port);
    }
}

/* So many round trips, and never less than `least`. */
static unsigned trips_ms(double rtt_ms, double trips, unsigned least)
{
    double ms = rtt_ms > 0 && rtt_ms < 10000 ? rtt_ms * trips : 0;
    return ms > least ? (unsigned)ms + 1 : least;
}

static unsigned patience_ms(double rtt_ms, unsigned least)
{
    return trips_ms(rtt_ms, 2.5, least);
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
                  "    retries %d\n"
                  "\n",
                  c->generation, c->dir, CONNECT_MS, RETRIES);
}

/* Which service another site means it says by ALPN: SNI cannot say it, because HAProxy holds the
 * certificate against that, and the certificate names the node. */
static void write_alpn(const struct ingress_view *view, struct sk_buf *out)
{
    for (size_t i = 0; i < view->nservices; i++) {
        char name[160];
        ingress_service_name(&view->services[i], name);
        sk_buf_printf(out, "%sin.%s", i == 0 ? " alpn " : ",", name);
        if (view->services[i].port != 0) {
            sk_buf_printf(out, ",ck.%s", name);
        }
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
        /* kept for longer than any caller keeps it: who closes first must be the caller */
        sk_buf_printf(out,
                      "frontend fe.checks\n"
                      "    mode http\n"
                      "    bind unix@%s/checks.sock mode 600\n"
                      "    use_backend be.%%[req.hdr(x-skerry-name)]\n"
                      "    default_backend none\n"
                      "\n"
                      "frontend fe.sites\n"
                      "    mode tcp\n"
                      "    no option idle-close-on-response\n"
                      "    timeout http-keep-alive 1m\n"
                      "    bind %s:%u ssl crt %s/node.pem ca-file %s/ca.pem verify required",
                      c->dir, at, c->inter_port, c->dir, c->dir);
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
 * is our own, which keeps it for longer than we do. One at a time: HAProxy 2.6 stops reading a
 * whole HTTP/2 connection when one of its users does not read (docs/ingress.md). One to a replica
 * is never shared: replicas may close theirs whenever they like. */
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

/* A check of another site on its way out: to that site's server and no other, up or down. Users
 * cannot ask for it: their x-skerry- headers are gone by here. */
static void write_check_out(const struct ingress_service *s, struct sk_buf *out)
{
    if (s->port == 0 && s->nremote > 0) {
        sk_buf_adds(out, "    force-persist if { req.hdr(x-skerry-check) -m found }\n"
                         "    use-server %[req.hdr(x-skerry-check)] if { "
                         "req.hdr(x-skerry-check) -m found }\n");
    }
}

static void write_answer(const char *name, const char *more, struct sk_buf *out)
{
    sk_buf_printf(
        out,
        "    http-request return status 200 content-type text/plain string \"up\\n\" if%s "
        "{ nbsrv(in.%s) gt 0 }\n"
        "    http-request return status 503 content-type text/plain string \"down\\n\"",
        more, name);
    sk_buf_printf(out, "%s%s\n", more[0] != '\0' ? " if" : "", more);
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

/* What other sites reach, and what their checks are told. */
static void write_in(const struct ingress_service *s, const struct ingress_slots *slots,
                     bool with_endpoints, const char *name, struct sk_buf *out)
{
    char follow[180];
    (void)snprintf(follow, sizeof(follow), "be.%s", name);
    sk_buf_printf(out, "\nbackend in.%s\n", name);
    write_mode(s, out);
    if (s->port == 0) {
        write_answer(name, " { req.hdr(x-skerry-check) -m found }", out);
    }
    sk_buf_printf(out, "    timeout connect %dms\n", CONNECT_MS);
    write_slots(slots, with_endpoints, "", follow, out);
    if (s->port != 0) {
        sk_buf_printf(out, "\nbackend ck.%s\n    mode http\n", name);
        write_answer(name, "", out);
    }
    sk_buf_adds(out, "\n");
}

static void write_backends(const struct ingress_config *c, const struct ingress_service *s,
                           const struct ingress_slots *slots, bool with_endpoints,
                           struct sk_buf *out)
{
    char name[160];
    ingress_service_name(s, name);
    sk_buf_printf(out, "backend be.%s\n", name);
    write_mode(s, out);
    if (c->identity) {
        write_check_out(s, out);
    }
    write_check(s, out);
    sk_buf_printf(out, "    timeout connect %ums\n    timeout check %ums\n",
                  CONNECT_MS + patience_ms(farthest_ms(s), 0), CHECK_MS);
    /* two, not one: in a crowd one lost SYN must not end all that a living replica is doing */
    write_slots(slots, with_endpoints,
                " check inter 250ms fastinter 50ms downinter 250ms fall 3 rise 1"
                " observe layer4 error-limit 2 on-error mark-down",
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
    write_in(s, slots, with_endpoints, name, out);
}

/* A check that finds no kept connection needs three round trips for TCP, TLS and itself. */
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
                  "Connection close hdr X-Skerry-Name %s hdr X-Skerry-Check %%[srv_name]\n"
                  "    http-check expect status 200\n"
                  "    timeout connect %ums\n"
                  "    timeout check %ums\n",
                  name, name, CONNECT_MS + patience_ms(farthest_ms(s), 0),
                  trips_ms(farthest_ms(s), 4, CHECK_MS));
    for (size_t i = 0; i < s->nremote; i++) {
        const struct ingress_remote *r = &s->remote[i];
        unsigned inter = patience_ms(r->rtt_ms, CHECK_MS);
        bool six = memchr(r->address.ptr, ':', r->address.len) != NULL;
        sk_buf_printf(out, "    server r.%.*s ", SK_PRI(r->site));
        if (s->port == 0) {
            sk_buf_printf(out, "unix@%s/checks.sock check inter %ums fall %d rise 1\n", c->dir,
                          inter, FALL);
            continue;
        }
        sk_buf_printf(out, "%s%.*s%s:%u check inter %ums fall %d rise 1", six ? "[" : "",
                      SK_PRI(r->address), six ? "]" : "", c->inter_port, inter, FALL);
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
        for (size_t k = 0; k < (view->services[i].port != 0 ? 2U : 1U); k++) {
            sk_buf_printf(out, "%s.%s %s.%s\n", kinds[k], name, kinds[k], name);
        }
    }
}
