/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/seat.h"

#include <string.h>

#include "base/json.h"
#include "base/units.h"

#define ERROR_BYTES_MAX 300
#define QUOTA_BYTES_MAX (INT64_C(16) << 30)

static int bad(struct sk_err *err, const char *key)
{
    return sk_err_set(err, SK_ERR_PROTOCOL, "control frame: '%s' is missing or not valid", key);
}

static int take_text(const struct sk_node *map, const char *key, char *out, size_t size,
                     bool may_be_empty, struct sk_err *err)
{
    struct sk_str text = sk_map_str(map, key, SK_STR_NULL);

    if (!text.ptr || text.len >= size || (text.len == 0 && !may_be_empty) ||
        memchr(text.ptr, '\0', text.len)) {
        return bad(err, key);
    }
    (void)snprintf(out, size, "%.*s", SK_PRI(text));
    return 0;
}

static int take_hex(const struct sk_node *map, const char *key, char out[SEAT_ID_SIZE],
                    struct sk_err *err)
{
    if (take_text(map, key, out, SEAT_ID_SIZE, false, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    return strlen(out) == 32 && strspn(out, "0123456789abcdef") == 32 ? 0 : bad(err, key);
}

static int take_url(const struct sk_node *map, const char *key, char out[SEAT_URL_SIZE],
                    struct sk_err *err)
{
    if (take_text(map, key, out, SEAT_URL_SIZE, false, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    return strncmp(out, "https://", 8) == 0 && !strpbrk(out, ",= \"'\n") ? 0 : bad(err, key);
}

int seat_read_plain(const struct sk_node *tree, struct seat_spec *ret, struct sk_err *err)
{
    struct seat_spec spec = {.rev = sk_map_int(tree, "rev", -1),
                             .external = sk_map_bool(tree, "external", false)};

    if (take_hex(tree, "id", spec.id, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    if (spec.rev < 0) {
        return bad(err, "rev");
    }
    *ret = spec;
    return 0;
}

static int take_peers(const struct sk_node *tree, struct seat_spec *spec, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "peers");

    if (!list || list->count > CONTROL_MEMBERS_MAX) {
        return bad(err, "peers");
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct sk_node *row = &list->u.items[i];
        struct seat_peer *peer = &spec->peers[i];
        if (row->kind != SK_MAP ||
            take_text(row, "name", peer->name, sizeof(peer->name), false, err) < 0 ||
            !sk_str_is_label(sk_str(peer->name)) ||
            take_url(row, "peer_url", peer->peer_url, err) < 0 ||
            take_url(row, "client_url", peer->client_url, err) < 0) {
            return bad(err, "peers");
        }
    }
    spec->npeers = list->count;
    return 0;
}

static int take_endpoints(const struct sk_node *tree, struct seat_spec *spec, struct sk_err *err)
{
    const struct sk_node *list = sk_map_seq(tree, "endpoints");

    if (!list || list->count > CONTROL_MEMBERS_MAX) {
        return bad(err, "endpoints");
    }
    for (uint32_t i = 0; i < list->count; i++) {
        struct sk_str url =
            list->u.items[i].kind == SK_STRING ? list->u.items[i].u.text : SK_STR("");
        if (!sk_str_starts(url, SK_STR("https://")) || url.len >= SEAT_URL_SIZE) {
            return bad(err, "endpoints");
        }
        (void)snprintf(spec->endpoints[i], SEAT_URL_SIZE, "%.*s", SK_PRI(url));
    }
    spec->nendpoints = list->count;
    return 0;
}

int seat_read_grant(const struct sk_node *tree, struct seat_spec *ret, struct sk_err *err)
{
    struct seat_spec spec;

    if (seat_read_plain(tree, &spec, err) < 0 || take_hex(tree, "token", spec.token, err) < 0 ||
        take_peers(tree, &spec, err) < 0 || take_endpoints(tree, &spec, err) < 0) {
        return SK_ERR_PROTOCOL;
    }
    spec.join = sk_map_bool(tree, "join", false);
    spec.rtt_ms = sk_map_num(tree, "rtt_ms", 1);
    if (!(spec.rtt_ms >= 0 && spec.rtt_ms < 60000)) {
        return bad(err, "rtt_ms");
    }
    spec.quota_bytes = sk_map_int(tree, "quota_bytes", 0);
    if (spec.quota_bytes < 0 || spec.quota_bytes > QUOTA_BYTES_MAX) {
        return bad(err, "quota_bytes");
    }
    if (spec.external ? spec.nendpoints == 0 : spec.npeers == 0) {
        return bad(err, spec.external ? "endpoints" : "peers");
    }
    *ret = spec;
    return 0;
}

void seat_write_spec(const struct seat_spec *spec, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "id", spec->id);
    sk_jw_kint(&w, "rev", spec->rev);
    sk_jw_kcstr(&w, "token", spec->token);
    sk_jw_kbool(&w, "external", spec->external);
    sk_jw_kbool(&w, "join", spec->join);
    sk_jw_knum(&w, "rtt_ms", spec->rtt_ms);
    if (spec->quota_bytes > 0) {
        sk_jw_kint(&w, "quota_bytes", spec->quota_bytes);
    }
    sk_jw_key(&w, "peers");
    sk_jw_arr(&w);
    for (size_t i = 0; i < spec->npeers; i++) {
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "name", spec->peers[i].name);
        sk_jw_kcstr(&w, "peer_url", spec->peers[i].peer_url);
        sk_jw_kcstr(&w, "client_url", spec->peers[i].client_url);
        sk_jw_obj_end(&w);
    }
    sk_jw_arr_end(&w);
    sk_jw_key(&w, "endpoints");
    sk_jw_arr(&w);
    for (size_t i = 0; i < spec->nendpoints; i++) {
        sk_jw_cstr(&w, spec->endpoints[i]);
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}

void seat_write_state(const struct seat_state *state, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "control_state");
    sk_jw_kstr(&w, "id", state->id);
    sk_jw_kcstr(&w, "stage", control_stage_name(state->stage));
    sk_jw_kstr(&w, "peer_url", state->peer_url);
    sk_jw_kstr(&w, "client_url", state->client_url);
    sk_jw_kint(&w, "port", state->port);
    sk_jw_kstr(&w, "error", state->error);
    sk_jw_obj_end(&w);
}

int seat_read_state(const struct sk_node *tree, struct sk_str node, struct control_event *ret,
                    struct sk_err *err)
{
    int stage = control_stage_from_name(sk_map_str(tree, "stage", SK_STR("")));
    struct sk_str id = sk_map_str(tree, "id", SK_STR(""));
    struct sk_str error = sk_map_str(tree, "error", SK_STR(""));
    int64_t port = sk_map_int(tree, "port", 0);
    char url[SEAT_URL_SIZE];

    if (stage < 0) {
        return bad(err, "stage");
    }
    if (id.len > SEAT_ID_SIZE - 1) {
        return bad(err, "id");
    }
    if (port < 0 || port > 65535) {
        return bad(err, "port");
    }
    if (stage != CONTROL_STAGE_NONE &&
        (take_url(tree, "peer_url", url, err) < 0 || take_url(tree, "client_url", url, err) < 0)) {
        return SK_ERR_PROTOCOL;
    }
    error = sk_str_head(error, ERROR_BYTES_MAX);
    *ret = (struct control_event){.kind = CONTROL_EV_SEAT};
    ret->u.seat.node = node;
    ret->u.seat.id = id;
    ret->u.seat.stage = (enum control_stage)stage;
    ret->u.seat.peer_url = sk_map_str(tree, "peer_url", SK_STR(""));
    ret->u.seat.client_url = sk_map_str(tree, "client_url", SK_STR(""));
    ret->u.seat.port = port;
    ret->u.seat.error = error;
    return 0;
}
