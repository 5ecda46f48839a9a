/* SPDX-License-Identifier: Apache-2.0 */
#include "net/seal.h"

#include <sodium.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "sys/clock.h"

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES

_Static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size");
_Static_assert(SEAL_PUBLIC_BYTES == crypto_box_PUBLICKEYBYTES, "public key size");
_Static_assert(SEAL_BOX_EXTRA == crypto_box_SEALBYTES, "box size");

void seal_key_new(uint8_t ret[SEAL_KEY_BYTES])
{
    sys_random(ret, SEAL_KEY_BYTES);
}

void seal_wipe(struct sk_buf *secret)
{
    if (secret->ptr) {
        sodium_memzero(secret->ptr, secret->cap);
    }
    sk_buf_release(secret);
}

/* ---- secrets at rest ---- */

/* What the box is bound to. A NUL stands between parts that hold none. */
static void bind_to(const char *cluster, const char *name, struct sk_buf *out)
{
    sk_buf_add(out, "skerry.sealed/1", sizeof("skerry.sealed/1"));
    sk_buf_add(out, cluster, strlen(cluster) + 1);
    sk_buf_adds(out, name);
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        if (name[i] < '!' || name[i] > '~') {
            return false;
        }
    }
    return len > 0 && len < SEAL_NAME_SIZE;
}

static void put_hex(struct sk_jw *w, const char *key, const uint8_t *bytes, size_t len)
{
    struct sk_buf hex = SK_BUF_INIT;

    sk_buf_reserve(&hex, 2 * len + 1);
    sk_hex(bytes, len, hex.ptr);
    sk_jw_kstr(w, key, (struct sk_str){hex.ptr, 2 * len});
    seal_wipe(&hex);
}

void seal_put(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const char *name,
              struct sk_str secret, struct sk_buf *ret_text)
{
    struct sk_buf bound = SK_BUF_INIT;
    uint8_t nonce[NONCE_BYTES];
    uint8_t *box = sk_xmalloc(secret.len + TAG_BYTES);
    struct sk_jw w;

    SK_ASSERT(is_name(cluster) && is_name(name) && secret.len <= SEAL_SECRET_BYTES_MAX);
    bind_to(cluster, name, &bound);
    sys_random(nonce, sizeof(nonce));
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(box, NULL, (const uint8_t *)secret.ptr,
                                                     secret.len, (const uint8_t *)bound.ptr,
                                                     bound.len, NULL, nonce, key);
    sk_jw_init(&w, ret_text);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "cluster", cluster);
    sk_jw_kcstr(&w, "sealed", name);
    put_hex(&w, "nonce", nonce, sizeof(nonce));
    put_hex(&w, "box", box, secret.len + TAG_BYTES);
    sk_jw_obj_end(&w);
    sk_buf_release(&bound);
    free(box);
}

/* The object in `text`, of version 1. */
static int read_object(struct sk_arena *arena, const char *what, struct sk_str text,
                       const struct sk_node **ret, struct sk_err *err)
{
    static const struct sk_limits limits = {
        .bytes_max = SEAL_TEXT_BYTES_MAX, .depth_max = 8, .nodes_max = 256};
    int r = sk_json_read(arena, what, text, &limits, ret, err);

    if (r < 0) {
        return r == SK_ERR_LIMIT ? r : SK_ERR_INPUT;
    }
    if ((*ret)->kind != SK_MAP || sk_map_int(*ret, "v", 0) < 1) {
        return sk_err_set(err, SK_ERR_INPUT, "%s: not of the form", what);
    }
    if (sk_map_int(*ret, "v", 0) > 1) {
        return sk_err_set(err, SK_ERR_UNSUPPORTED, "%s: made by a later version of skerry", what);
    }
    return 0;
}

static int open_box(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const char *name,
                    const struct sk_node *root, struct sk_buf *ret_secret, struct sk_err *err)
{
    struct sk_str nonce_hex = sk_map_str(root, "nonce", SK_STR(""));
    struct sk_str hex = sk_map_str(root, "box", SK_STR(""));
    size_t len = hex.len / 2;
    struct sk_buf bound = SK_BUF_INIT;
    uint8_t nonce[NONCE_BYTES];
    uint8_t *box;
    int r = 0;

    if (!sk_unhex(nonce_hex, nonce, sizeof(nonce)) || len < TAG_BYTES ||
        len > SEAL_SECRET_BYTES_MAX + TAG_BYTES) {
        return sk_err_set(err, SK_ERR_INPUT, "sealed '%s': not of the form", name);
    }
    box = sk_xmalloc(len);
    bind_to(cluster, name, &bound);
    sk_buf_reserve(ret_secret, len - TAG_BYTES + 1);
    if (!sk_unhex(hex, box, len)) {
        r = sk_err_set(err, SK_ERR_INPUT, "sealed '%s': not of the form", name);
    } else if (crypto_aead_xchacha20poly1305_ietf_decrypt(
                   (uint8_t *)ret_secret->ptr + ret_secret->len, NULL, NULL, box, len,
                   (const uint8_t *)bound.ptr, bound.len, nonce, key) != 0) {
        r = sk_err_set(err, SK_ERR_CORRUPT,
                       "sealed '%s' does not open: it is altered, or of another key", name);
    } else {
        ret_secret->len += len - TAG_BYTES;
        ret_secret->ptr[ret_secret->len] = '\0';
    }
    sk_buf_release(&bound);
    free(box);
    return r;
}

int seal_get(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const char *name,
             struct sk_str text, struct sk_buf *ret_secret, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int r = read_object(arena, "sealed secret", text, &root, err);

    r = r < 0 ? r : open_box(key, cluster, name, root, ret_secret, err);
    sk_arena_free(arena);
    return r;
}

/* ---- the recovery code ---- */

/*
 * Crockford's base32: no letter that is taken for a digit or another letter. Four characters of a
 * group hold 20 bits, d1 … d4; the fifth, d0, is such that d0 + a d1 + a^2 d2 + a^3 d3 + a^4 d4 =
 * the group's number, in GF(32) with a a root of x^5 + x^2 + 1. The coefficients are not zero and
 * differ, so every single wrong character and every two that changed places are noticed; so are
 * two groups that did.
 */
#define GROUPS 8
#define GROUP_CHARS 5

static const char code_alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static unsigned times_root(unsigned x)
{
    x <<= 1;
    return x & 32 ? x ^ 37 : x;
}

/* The character that ends the group. */
static unsigned check_of(const unsigned data[4], unsigned group)
{
    unsigned sum = 0;

    for (unsigned i = 4; i-- > 0;) {
        sum = times_root(sum ^ data[i]);
    }
    return sum ^ (group + 1);
}

static int code_value(char c)
{
    const char *found;

    c = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
    found = c ? strchr(code_alphabet, c) : NULL;
    return found ? (int)(found - code_alphabet) : -1;
}

void seal_code_new(struct seal_code *ret)
{
    sys_random(ret->bytes, sizeof(ret->bytes));
}

void seal_code_print(const struct seal_code *code, char ret_text[SEAL_CODE_TEXT_SIZE])
{
    char *at = ret_text;

    for (unsigned g = 0; g < GROUPS; g++) {
        unsigned data[4];
        for (unsigned i = 0; i < 4; i++) {
            unsigned bit = g * 20 + i * 5; /* 5 bits lie in two bytes at most */
            unsigned two = (unsigned)code->bytes[bit / 8] << 8;
            two |= bit / 8 + 1 < SEAL_CODE_BYTES ? code->bytes[bit / 8 + 1] : 0;
            data[i] = (two >> (11 - bit % 8)) & 31;
            *at++ = code_alphabet[data[i]];
        }
        *at++ = code_alphabet[check_of(data, g)];
        *at++ = g + 1 < GROUPS ? '-' : '\0';
    }
}

static int bad_code(struct sk_err *err, const char *why)
{
    (void)sk_err_set(err, SK_ERR_INPUT, "that is not a recovery code: %s", why);
    (void)sk_err_fix(err, "a code is 8 groups of 5 letters and digits; 'skerry init' printed it");
    return SK_ERR_INPUT;
}

/* Takes a group's characters into the bits of the code. False: they do not fit each other. */
static bool take_group(const unsigned chars[GROUP_CHARS], unsigned group, struct seal_code *code)
{
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned b = 0; b < 5; b++) {
            unsigned bit = group * 20 + i * 5 + b;
            unsigned on = (chars[i] >> (4 - b)) & 1;
            code->bytes[bit / 8] = (uint8_t)(code->bytes[bit / 8] | (on << (7 - bit % 8)));
        }
    }
    return check_of(chars, group) == chars[4];
}

int seal_code_read(struct sk_str text, struct seal_code *ret, struct sk_err *err)
{
    struct seal_code code = {{0}};
    unsigned chars[GROUP_CHARS];
    unsigned n = 0;
    char why[64] = "";

    if (text.len && text.ptr[text.len - 1] == '\n') {
        text.len--;
    }
    for (size_t i = 0; i < text.len && !why[0]; i++) {
        int value = code_value(text.ptr[i]);
        if ((text.ptr[i] == '-' || text.ptr[i] == ' ') && n % GROUP_CHARS == 0) {
            continue;
        }
        if (value < 0 || n == GROUPS * GROUP_CHARS) {
            (void)snprintf(why, sizeof(why),
                           value < 0 ? "a character in group %u is none of a code's"
                                     : "it is longer than %u groups",
                           value < 0 ? n / GROUP_CHARS + 1 : GROUPS);
            break;
        }
        chars[n % GROUP_CHARS] = (unsigned)value;
        n++;
        if (n % GROUP_CHARS == 0 && !take_group(chars, n / GROUP_CHARS - 1, &code)) {
            (void)snprintf(why, sizeof(why), "group %u is mistyped", n / GROUP_CHARS);
        }
    }
    if (!why[0] && n < GROUPS * GROUP_CHARS) {
        (void)snprintf(why, sizeof(why), "it ends in group %u", n / GROUP_CHARS + 1);
    }
    if (!why[0]) {
        *ret = code;
    }
    sodium_memzero(&code, sizeof(code));
    sodium_memzero(chars, sizeof(chars));
    return why[0] ? bad_code(err, why) : 0;
}

/* 160 random bits need no slow hash. */
static void key_pair(const struct seal_code *code, uint8_t ret_public[SEAL_PUBLIC_BYTES],
                     uint8_t ret_secret[crypto_box_SECRETKEYBYTES])
{
    static const char context[] = "skerry.recovery/1";
    uint8_t seed[crypto_box_SEEDBYTES];

    (void)crypto_generichash(seed, sizeof(seed), code->bytes, sizeof(code->bytes),
                             (const uint8_t *)context, sizeof(context) - 1);
    (void)crypto_box_seed_keypair(ret_public, ret_secret, seed);
    sodium_memzero(seed, sizeof(seed));
}

void seal_code_public(const struct seal_code *code, uint8_t ret[SEAL_PUBLIC_BYTES])
{
    uint8_t secret[crypto_box_SECRETKEYBYTES];

    key_pair(code, ret, secret);
    sodium_memzero(secret, sizeof(secret));
}

void seal_to(const uint8_t public_key[SEAL_PUBLIC_BYTES], struct sk_str bytes,
             struct sk_buf *ret_box)
{
    SK_ASSERT(bytes.len <= SEAL_SECRET_BYTES_MAX);
    sk_buf_reserve(ret_box, bytes.len + SEAL_BOX_EXTRA + 1);
    (void)crypto_box_seal((uint8_t *)ret_box->ptr + ret_box->len, (const uint8_t *)bytes.ptr,
                          bytes.len, public_key);
    ret_box->len += bytes.len + SEAL_BOX_EXTRA;
    ret_box->ptr[ret_box->len] = '\0';
}

int seal_open(const struct seal_code *code, struct sk_str box, struct sk_buf *ret,
              struct sk_err *err)
{
    uint8_t public_key[SEAL_PUBLIC_BYTES], secret[crypto_box_SECRETKEYBYTES];
    int r = 0;

    if (box.len < SEAL_BOX_EXTRA || box.len > SEAL_SECRET_BYTES_MAX + SEAL_BOX_EXTRA) {
        return sk_err_set(err, SK_ERR_INPUT, "what the recovery code opens is not of the form");
    }
    key_pair(code, public_key, secret);
    sk_buf_reserve(ret, box.len - SEAL_BOX_EXTRA + 1);
    if (crypto_box_seal_open((uint8_t *)ret->ptr + ret->len, (const uint8_t *)box.ptr, box.len,
                             public_key, secret) != 0) {
        r = sk_err_set(err, SK_ERR_DENIED, "this is not the recovery code that opens it");
    } else {
        ret->len += box.len - SEAL_BOX_EXTRA;
        ret->ptr[ret->len] = '\0';
    }
    sodium_memzero(secret, sizeof(secret));
    return r;
}
