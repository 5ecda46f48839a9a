/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pulse.h"

#include <sodium.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/tree.h"
#include "sys/clock.h"

#define NONCE_BYTES crypto_aead_chacha20poly1305_ietf_NPUBBYTES

_Static_assert(NET_PULSE_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(NET_PULSE_KEY_BYTES == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key");

/* ---- the head ---- */

static void head_write(enum net_pulse_kind kind, const struct net_pulse *pulse, uint64_t counter,
                       uint8_t *ret)
{
    memcpy(ret, kind == NET_PULSE_BEAT ? "skb1" : "ska1", 4);
    memcpy(ret + 4, pulse->id, NET_PULSE_ID_BYTES);
    for (int i = 0; i < 8; i++) {
        ret[12 + i] = (uint8_t)(counter >> (8 * (7 - i)));
    }
}

static uint64_t head_counter(const uint8_t *bytes)
{
    uint64_t counter = 0;

    for (int i = 0; i < 8; i++) {
        counter = counter << 8 | bytes[12 + i];
    }
    return counter;
}

static void nonce_of(const uint8_t *head, uint8_t ret[NONCE_BYTES])
{
    memset(ret, 0, NONCE_BYTES);
    ret[3] = head[2] == 'a';
    memcpy(ret + 4, head + 12, 8);
}

enum net_pulse_kind net_pulse_look(const uint8_t *bytes, size_t len,
                                   uint8_t ret_id[NET_PULSE_ID_BYTES])
{
    enum net_pulse_kind kind = NET_PULSE_NONE;

    if (len < NET_PULSE_ANSWER_BYTES || len > NET_PULSE_BYTES_MAX) {
        return NET_PULSE_NONE;
    }
    if (memcmp(bytes, "skb1", 4) == 0) {
        kind = NET_PULSE_BEAT;
    } else if (memcmp(bytes, "ska1", 4) == 0 && len == NET_PULSE_ANSWER_BYTES) {
        kind = NET_PULSE_ANSWER;
    }
    if (kind != NET_PULSE_NONE) {
        memcpy(ret_id, bytes + 4, NET_PULSE_ID_BYTES);
    }
    return kind;
}

static bool is_of(const struct net_pulse *pulse, enum net_pulse_kind kind, const uint8_t *bytes,
                  size_t len)
{
    uint8_t id[NET_PULSE_ID_BYTES];

    return net_pulse_look(bytes, len, id) == kind && memcmp(id, pulse->id, sizeof(id)) == 0;
}

/* ---- sealed ---- */

static void seal(const struct net_pulse *pulse, struct sk_str json, uint8_t *bytes)
{
    uint8_t nonce[NONCE_BYTES];
    unsigned long long sealed;
    int rc;

    nonce_of(bytes, nonce);
    rc = crypto_aead_chacha20poly1305_ietf_encrypt(bytes + NET_PULSE_HEAD_BYTES, &sealed,
                                                   (const uint8_t *)json.ptr, json.len, bytes,
                                                   NET_PULSE_HEAD_BYTES, NULL, nonce, pulse->key);
    SK_ASSERT(rc == 0 && sealed == json.len + NET_PULSE_TAG_BYTES);
}

static bool unseal(const struct net_pulse *pulse, const uint8_t *bytes, size_t len, uint8_t *ret)
{
    uint8_t nonce[NONCE_BYTES];

    nonce_of(bytes, nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt(ret, NULL, NULL, bytes + NET_PULSE_HEAD_BYTES,
                                                     len - NET_PULSE_HEAD_BYTES, bytes,
                                                     NET_PULSE_HEAD_BYTES, nonce, pulse->key) == 0;
}

/* ---- control ---- */

void net_pulse_new(struct net_pulse *ret)
{
    *ret = (struct net_pulse){0};
    sys_random(ret->id, sizeof(ret->id));
    sys_random(ret->key, sizeof(ret->key));
}

bool net_pulse_open(struct net_pulse *pulse, const uint8_t *bytes, size_t len, struct sk_buf *ret)
{
    uint8_t json[NET_PULSE_JSON_MAX];

    if (!is_of(pulse, NET_PULSE_BEAT, bytes, len) || head_counter(bytes) <= pulse->counter ||
        !unseal(pulse, bytes, len, json)) {
        return false;
    }
    pulse->counter = head_counter(bytes);
    sk_buf_add(ret, (const char *)json, len - NET_PULSE_ANSWER_BYTES);
    return true;
}

void net_pulse_answer(const struct net_pulse *pulse, uint8_t ret[NET_PULSE_ANSWER_BYTES])
{
    head_write(NET_PULSE_ANSWER, pulse, pulse->counter, ret);
    seal(pulse, SK_STR(""), ret);
}

void net_pulse_write(const struct net_pulse *pulse, uint16_t port, struct sk_buf *out)
{
    char id[2 * NET_PULSE_ID_BYTES + 1], key[2 * NET_PULSE_KEY_BYTES + 1];

    sk_hex(pulse->id, sizeof(pulse->id), id);
    sk_hex(pulse->key, sizeof(pulse->key), key);
    sk_buf_printf(out, "{\"v\":1,\"type\":\"pulse\",\"id\":\"%s\",\"key\":\"%s\",\"port\":%u}", id,
                  key, port);
    explicit_bzero(key, sizeof(key));
}

/* ---- node ---- */

int net_pulse_parse(const struct sk_node *frame, struct net_pulse *ret, uint16_t *ret_port,
                    struct sk_err *err)
{
    struct net_pulse pulse = {0};
    int64_t port = sk_map_int(frame, "port", 0);

    if (!sk_unhex(sk_map_str(frame, "id", SK_STR("")), pulse.id, sizeof(pulse.id)) ||
        !sk_unhex(sk_map_str(frame, "key", SK_STR("")), pulse.key, sizeof(pulse.key)) ||
        port <= 0 || port > UINT16_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL, "pulse: id, key and port are needed");
    }
    *ret = pulse;
    *ret_port = (uint16_t)port;
    return 0;
}

size_t net_pulse_seal(struct net_pulse *pulse, struct sk_str json, uint8_t ret[NET_PULSE_BYTES_MAX])
{
    if (json.len > NET_PULSE_JSON_MAX) {
        return 0;
    }
    head_write(NET_PULSE_BEAT, pulse, ++pulse->counter, ret);
    seal(pulse, json, ret);
    return json.len + NET_PULSE_ANSWER_BYTES;
}

bool net_pulse_answered(struct net_pulse *pulse, const uint8_t *bytes, size_t len)
{
    uint64_t counter;
    uint8_t none[1];

    if (!is_of(pulse, NET_PULSE_ANSWER, bytes, len)) {
        return false;
    }
    counter = head_counter(bytes);
    if (counter <= pulse->answered || counter > pulse->counter ||
        !unseal(pulse, bytes, len, none)) {
        return false;
    }
    pulse->answered = counter;
    return true;
}

bool net_pulse_hurry(int64_t now_ms, int64_t answered_ms)
{
    int64_t age_ms = now_ms - answered_ms;

    return answered_ms >= 0 && age_ms >= NET_PULSE_MISS_MS && age_ms < NET_PULSE_GIVE_UP_MS;
}

int64_t net_pulse_steady(int64_t now_ms, int64_t answered_ms, int64_t steady_ms)
{
    if (answered_ms < 0) {
        return now_ms - NET_PULSE_CALM_MS; /* good until the first is missing */
    }
    return now_ms - answered_ms >= NET_PULSE_MISS_MS ? now_ms : steady_ms;
}

bool net_pulse_calm(int64_t now_ms, int64_t answered_ms, int64_t steady_ms)
{
    return answered_ms >= 0 && now_ms - answered_ms < NET_PULSE_MISS_MS &&
           now_ms - steady_ms >= NET_PULSE_CALM_MS;
}

void net_pulse_wipe(struct net_pulse *pulse)
{
    explicit_bzero(pulse, sizeof(*pulse));
}
