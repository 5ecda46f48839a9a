/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/forward.h"

#include <curl/curl.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sys/clock.h"

#define CONNECT_MS 1000
#define WHO_BYTES_MAX 256
#define TOKEN_PREFIX "skp1."

/* ---- the key ---- */

static int make_key(struct vault *vault, char hex[2 * PEER_KEY_BYTES + 1], struct sk_err *err)
{
    uint8_t key[PEER_KEY_BYTES];

    sys_random(key, sizeof(key));
    sk_hex(key, sizeof(key), hex);
    explicit_bzero(key, sizeof(key));
    return vault_put(vault, VAULT_PEER_KEY, sk_str(hex), err);
}

int peer_token_load(struct vault *vault, bool make, char ret[PEER_TOKEN_SIZE], struct sk_err *err)
{
    struct sk_buf text = SK_BUF_INIT;
    char hex[2 * PEER_KEY_BYTES + 1] = "";
    uint8_t key[PEER_KEY_BYTES];
    int rc = vault_get(vault, VAULT_PEER_KEY, &text, err);

    if (rc == SK_ERR_NOT_FOUND && make) {
        rc = make_key(vault, hex, err);
    } else if (rc == 0 && !sk_unhex(sk_buf_str(&text), key, sizeof(key))) {
        rc = sk_err_set(err, SK_ERR_CORRUPT, "the sealed '" VAULT_PEER_KEY "' is no key");
    } else if (rc == 0) {
        sk_hex(key, sizeof(key), hex);
        explicit_bzero(key, sizeof(key));
    }
    if (rc == 0) {
        (void)snprintf(ret, PEER_TOKEN_SIZE, TOKEN_PREFIX "%s", hex);
    }
    explicit_bzero(hex, sizeof(hex));
    seal_wipe(&text);
    return rc;
}

/* ---- in whose name ---- */

static bool plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-' || c == ':';
}

void forward_write_behalf(enum api_role role, struct sk_str who, struct sk_buf *out)
{
    sk_buf_printf(out, "%s ", api_role_name(role));
    for (size_t i = 0; i < who.len; i++) {
        unsigned char c = (unsigned char)who.ptr[i];
        if (plain(c)) {
            sk_buf_addc(out, (char)c);
        } else {
            sk_buf_printf(out, "%%%02x", c);
        }
    }
}

bool forward_read_behalf(struct sk_str text, struct sk_arena *arena, enum api_role *ret_role,
                         struct sk_str *ret_who)
{
    struct sk_str name, rest;
    char role[16];
    char who[WHO_BYTES_MAX];
    size_t n = 0;

    if (text.ptr == NULL || !sk_str_cut(text, ' ', &name, &rest) || name.len >= sizeof(role)) {
        return false;
    }
    (void)snprintf(role, sizeof(role), "%.*s", SK_PRI(name));
    if (api_role_from_name(role) == API_NOBODY || rest.len == 0) {
        return false;
    }
    for (size_t i = 0; i < rest.len; i++) {
        uint8_t byte = (uint8_t)rest.ptr[i];
        if (byte == '%') {
            if (i + 2 >= rest.len || !sk_unhex((struct sk_str){rest.ptr + i + 1, 2}, &byte, 1)) {
                return false;
            }
            i += 2;
        } else if (!plain(byte)) {
            return false;
        }
        if (n + 1 >= sizeof(who) || byte == '\0') {
            return false;
        }
        who[n++] = (char)byte;
    }
    *ret_role = api_role_from_name(role);
    *ret_who = sk_arena_str(arena, (struct sk_str){who, n});
    return true;
}

/* ---- the call ---- */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sk_buf *body = ctx;

    if (body->len + size * count > FORWARD_ANSWER_BYTES_MAX) {
        return 0;
    }
    sk_buf_add(body, bytes, size * count);
    return size * count;
}

static struct curl_slist *headers_of(const struct forward_request *r)
{
    struct sk_buf line = SK_BUF_INIT;
    struct curl_slist *list = NULL;

    sk_buf_printf(&line, "Authorization: Bearer %s", r->token);
    list = curl_slist_append(list, line.ptr);
    explicit_bzero(line.ptr, line.len);
    sk_buf_clear(&line);
    sk_buf_adds(&line, FORWARD_BEHALF ": ");
    forward_write_behalf(r->role, r->who, &line);
    list = curl_slist_append(list, line.ptr);
    list = curl_slist_append(list, "Expect:"); /* no round trip to ask whether it may */
    list = curl_slist_append(list, "Content-Type: application/json");
    sk_buf_release(&line);
    return list;
}

#define SET(option, value) SK_ASSERT(curl_easy_setopt(easy, option, value) == CURLE_OK)

/* Nothing but the cluster's CA is believed, whatever the environment says. */
static void set_options(CURL *easy, const struct forward_request *r, struct curl_slist *headers,
                        struct forward_answer *answer, char why[CURL_ERROR_SIZE])
{
    struct sk_buf url = SK_BUF_INIT;
    struct sk_buf method = SK_BUF_INIT;
    const char *form = strchr(r->address, ':') != NULL ? "[" : "";

    sk_buf_printf(&url, "https://%s%s%s:%u%.*s", form, r->address, form[0] ? "]" : "",
                  (unsigned)r->port, SK_PRI(r->target));
    sk_buf_printf(&method, "%.*s", SK_PRI(r->method));
    SET(CURLOPT_URL, url.ptr);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_ERRORBUFFER, why);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAINFO, r->ca_file);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    SET(CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    SET(CURLOPT_WRITEFUNCTION, on_bytes);
    SET(CURLOPT_WRITEDATA, &answer->body);
    if (r->body.len > 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
        SET(CURLOPT_POSTFIELDS, r->body.ptr);
    }
    SET(CURLOPT_CUSTOMREQUEST, method.ptr);
    sk_buf_release(&url);
    sk_buf_release(&method);
}

/* Nothing was sent as long as no connection stood. */
static int call_failed(CURL *easy, const struct forward_request *r, const char *why,
                       struct sk_err *err)
{
    curl_off_t sent_us = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
    if (sent_us == 0) {
        return sk_err_set(err, SK_ERR_UNAVAILABLE, "the leader at %s is not reached: %.150s",
                          r->address, why);
    }
    (void)sk_err_set(err, SK_ERR_TIMEOUT, "the leader at %s did not answer: %.150s", r->address,
                     why);
    return sk_err_fix(err, "it may still be carried out: see 'skerry events'");
}

int forward_call(const struct forward_request *request, struct forward_answer *ret,
                 struct sk_err *err)
{
    char why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = headers_of(request);
    CURL *easy;
    const char *type = NULL;
    int rc = 0;

    SK_ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* the first of all does it */
    easy = curl_easy_init();
    SK_ASSERT(easy != NULL && headers != NULL);
    *ret = (struct forward_answer){0};
    set_options(easy, request, headers, ret, why);
    if (curl_easy_perform(easy) != CURLE_OK) {
        rc = call_failed(easy, request, why, err);
    } else {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &ret->status);
        (void)curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
        (void)snprintf(ret->content_type, sizeof(ret->content_type), "%s",
                       type != NULL ? type : "application/json");
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    return rc;
}
