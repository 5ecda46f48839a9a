/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_SEAL_H
#define SK_NET_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * How the cluster's secrets rest: texts that are opened with one unseal key, shares of that key,
 * and the recovery code. No files: daemon/vault.h keeps what is made here.
 *
 * A sealed secret is one JSON object, XChaCha20-Poly1305 (libsodium) under the unseal key, bound to
 * the cluster's and its own name: a text that is renamed or carried elsewhere does not open.
 *
 * Shares are Shamir's over GF(256), byte by byte (libgfshare): any `threshold` of them give the
 * key, fewer tell nothing. All shares of one split carry its generation (random) and a check, a MAC
 * of that split's facts under the key itself: shares of two splits do not mix, and what comes of
 * wrong ones is an error, never a wrong key.
 *
 * The recovery code is 160 random bits, for people: 8 groups of 4 characters and one that checks
 * them, so that a slip is told with its group. It makes an X25519 key pair; to its public half
 * anybody can seal, the code alone opens.
 *
 * All readers are bounded and strict in form; unknown members are ignored. Whoever gets key, code
 * or secret wipes it. Thread safe. Errors: SK_ERR_INPUT for what is not of the form,
 * SK_ERR_UNSUPPORTED for a later version, SK_ERR_CORRUPT for what does not open.
 * Sources: A. Shamir, "How to share a secret", CACM 22 (1979); libsodium's manual.
 */
#define SEAL_KEY_BYTES 32
#define SEAL_PUBLIC_BYTES 32
#define SEAL_NAME_SIZE 64                 /* of clusters and secrets, with the NUL */
#define SEAL_ID_SIZE 33                   /* 128 bits in hex with the NUL */
#define SEAL_SECRET_BYTES_MAX (16 * 1024) /* in one sealed text, or sealed to a code */
#define SEAL_BOX_EXTRA 48                 /* by how much seal_to() lengthens */
#define SEAL_TEXT_BYTES_MAX (40 * 1024)   /* a sealed text or share */
#define SEAL_SHARES_MAX 15
#define SEAL_CODE_BYTES 20
#define SEAL_CODE_TEXT_SIZE 48 /* "XXXXX-XXXXX-…", 8 groups, with the NUL */

void seal_key_new(uint8_t ret[SEAL_KEY_BYTES]);

/* ---- secrets at rest ---- */

/* Appends the text. Names of 1 to 63 printable bytes, at most SEAL_SECRET_BYTES_MAX of secret:
 * asserted. */
void seal_put(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const char *name,
              struct sk_str secret, struct sk_buf *ret_text);
/* Appends the secret; the caller wipes it. */
int seal_get(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const char *name,
             struct sk_str text, struct sk_buf *ret_secret, struct sk_err *err);

/* ---- shares of a key ---- */

struct seal_share {
    char cluster[SEAL_NAME_SIZE];
    char generation[SEAL_ID_SIZE]; /* of the split */
    char check[SEAL_ID_SIZE];      /* of the key in that split */
    unsigned number;               /* 1 … count */
    unsigned threshold, count;
    uint8_t bytes[SEAL_KEY_BYTES];
};

/* `count` shares into ret. 2 <= threshold <= count <= SEAL_SHARES_MAX, else SK_ERR_INPUT. */
int seal_split(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, unsigned count,
               unsigned threshold, struct seal_share *ret, struct sk_err *err);
void seal_share_write(const struct seal_share *share, struct sk_buf *ret_text); /* appends */
/* SK_ERR_CORRUPT: its own sum does not fit it. */
int seal_share_read(struct sk_str text, struct seal_share *ret, struct sk_err *err);
/*
 * The key, of shares of one cluster and generation; the first is the one that is trusted to say
 * which. The same share twice counts once; a wrong one among enough right ones does no harm.
 * SK_ERR_UNAVAILABLE: fewer than the threshold. SK_ERR_CONFLICT: of another cluster or split.
 * SK_ERR_CORRUPT: no set of them gives the key.
 */
int seal_combine(const struct seal_share *shares, size_t count, uint8_t ret[SEAL_KEY_BYTES],
                 struct sk_err *err);

/* ---- the recovery code ---- */

struct seal_code {
    uint8_t bytes[SEAL_CODE_BYTES];
};

void seal_code_new(struct seal_code *ret);
void seal_code_print(const struct seal_code *code, char ret_text[SEAL_CODE_TEXT_SIZE]);
/* Lower case, spaces for dashes (or neither), O for 0, I and L for 1 are taken; one newline may
 * end it. The message says which group is wrong and never quotes the input. */
int seal_code_read(struct sk_str text, struct seal_code *ret, struct sk_err *err);
void seal_code_public(const struct seal_code *code, uint8_t ret[SEAL_PUBLIC_BYTES]);
/* Appends the box: SEAL_BOX_EXTRA bytes longer than `bytes`. */
void seal_to(const uint8_t public_key[SEAL_PUBLIC_BYTES], struct sk_str bytes,
             struct sk_buf *ret_box);
/* Appends what is in it. SK_ERR_DENIED: not by this code. */
int seal_open(const struct seal_code *code, struct sk_str box, struct sk_buf *ret,
              struct sk_err *err);

/* Zeroes, then releases. */
void seal_wipe(struct sk_buf *secret);

#endif
