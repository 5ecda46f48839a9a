/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_NET_IDENTITY_H
#define SK_NET_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"

/*
 * Who is who: the cluster's certificate authority, the keys and certificates of its nodes, and the
 * set of those that are no longer believed.
 *
 * Everything is ECDSA on P-256 with SHA-256, X.509 v3 by OpenSSL. A node's certificate lives 24
 * hours at most and is backdated by 5 minutes for clocks that are behind. Its name is one URI in
 * subjectAltName, skerry://CLUSTER/node/NAME; control nodes also have
 * skerry://CLUSTER/role/control, without which no node takes a peer for a control node, so that a
 * stolen node cannot pose as one. Nothing of a request but its public key is believed: names come
 * from the caller.
 *
 * Files (written atomically): DIR/identity/{node.key,node.pem,ca.pem}. Keys have mode 0600. The
 * authority's key rests sealed (daemon/vault.h). Private keys in memory are wiped when freed.
 *
 * Threads: the functions share nothing; struct net_revoked belongs to one thread.
 * Sources: RFC 5280, RFC 8446; OpenSSL 3.0's manual pages.
 */
#define NET_NAME_SIZE 64                       /* a label with its NUL */
#define NET_SERIAL_SIZE 41                     /* 20 bytes in hex with the NUL */
#define NET_CERT_LIFE_MS (24LL * 3600 * 1000)  /* at most */
#define NET_CERT_BACKDATE_MS (5LL * 60 * 1000) /* before the moment of issue */
#define NET_CA_LIFE_MS (3650LL * 24 * 3600 * 1000)
#define NET_PEM_BYTES_MAX 16384
#define NET_CERT_NAMES_MAX 32

enum net_cert_kind {
    NET_CERT_NODE,    /* client and server on the channel */
    NET_CERT_CONTROL, /* the same, and believed as a control node */
    NET_CERT_API      /* HTTPS server only: no URI, worthless on the channel */
};

/* What a certificate says. */
struct net_cert_info {
    enum net_cert_kind kind;
    char cluster[NET_NAME_SIZE];
    char node[NET_NAME_SIZE]; /* "" with NET_CERT_API */
    char serial[NET_SERIAL_SIZE];
    int64_t issued_ms;    /* wall clock; whole seconds, rounded down */
    int64_t not_after_ms; /* wall clock */
};

/* ---- the authority (control nodes) ---- */

struct net_ca;

/* A new authority for `cluster` (a label), not yet on disk. */
int net_ca_new(const char *cluster, int64_t wall_ms, struct net_ca **ret, struct sk_err *err);
/* From what was kept. SK_ERR_CORRUPT also when key and certificate do not belong together. */
int net_ca_read(struct sk_str key_pem, struct sk_str ca_pem, struct net_ca **ret,
                struct sk_err *err);
/* What is to be kept, sealed. Appends; wipe it: net_pem_wipe(). */
int net_ca_key(const struct net_ca *ca, struct sk_buf *ret_key_pem, struct sk_err *err);
void net_ca_free(struct net_ca *ca); /* NULL allowed */
const char *net_ca_pem(const struct net_ca *ca);
const char *net_ca_cluster(const struct net_ca *ca);
/* SHA-256 of the certificate's DER form: what tokens carry. */
int net_ca_fingerprint(struct sk_str ca_pem, uint8_t ret[SK_SHA256_BYTES], struct sk_err *err);

struct net_issue {
    enum net_cert_kind kind;
    const char *node;         /* a label */
    const char *const *names; /* addresses and host names that the certificate is also good for */
    size_t nnames;            /* at most NET_CERT_NAMES_MAX */
    int64_t life_ms;          /* 0 = NET_CERT_LIFE_MS, which is also the most */
    const char *serial;       /* 32 hex digits, the first 4 to 7; NULL = a random one */
    int64_t wall_ms;          /* now */
};

/* Signs the key of a request. The request's signature is checked, its key must be P-256, all else
 * in it is ignored. Appends the certificate. ret_info may be NULL. SK_ERR_INPUT for what the
 * requester got wrong. */
int net_ca_issue(const struct net_ca *ca, struct sk_str csr_pem, const struct net_issue *issue,
                 struct sk_buf *ret_cert_pem, struct net_cert_info *ret_info, struct sk_err *err);

/* ---- a node's own ---- */

int net_key_new(struct sk_buf *ret_key_pem, struct sk_err *err); /* wipe it: net_pem_wipe() */
int net_csr_new(struct sk_str key_pem, const char *node, struct sk_buf *ret_csr_pem,
                struct sk_err *err);
void net_pem_wipe(struct sk_buf *pem); /* zeroes, then releases */

/* Reads a certificate without judging who signed it. SK_ERR_INPUT if it is none of ours by form. */
int net_cert_read(struct sk_str cert_pem, struct net_cert_info *ret, struct sk_err *err);
/* When to ask for the next one: between 1/2 and 2/3 of its life, spread over nodes by the serial.
 */
int64_t net_cert_renew_at_ms(const struct net_cert_info *info);

/* Key, certificate and CA together: what the channel needs. */
struct net_identity {
    char *key_pem; /* owned, all three */
    char *cert_pem;
    char *ca_pem;
    struct net_cert_info info;
};

/* Copies the texts, checks that the key is the certificate's and that the CA signed it. Validity in
 * time is not judged here: an expired identity loads, and renews. SK_ERR_INPUT. */
int net_identity_make(struct sk_str key_pem, struct sk_str cert_pem, struct sk_str ca_pem,
                      struct net_identity *ret, struct sk_err *err);
/* SK_ERR_NOT_FOUND (not a member yet); SK_ERR_CORRUPT. */
int net_identity_load(const char *dir, struct net_identity *ret, struct sk_err *err);
/* Key, CA, certificate, in this order: the certificate's arrival is the commit. */
int net_identity_save(const struct net_identity *id, const char *dir, struct sk_err *err);
/* After a renewal. The key stays as long as the membership: two files cannot be replaced at once,
 * and a crash between them would leave a node without identity. */
int net_identity_save_cert(const struct net_identity *id, const char *dir, struct sk_err *err);
void net_identity_release(struct net_identity *id); /* wipes; may be called twice */

/* ---- the revoked ---- */

/*
 * By serial: that certificate. By node: every certificate of that name issued up to a moment, so
 * that a server that joins again under the name is believed (moments count in whole seconds: one
 * issued in the same second as the revocation is refused too).
 */
struct net_revoked;
struct net_revoked *net_revoked_new(void);
void net_revoked_free(struct net_revoked *revoked); /* NULL allowed */
void net_revoked_add_serial(struct net_revoked *revoked, struct sk_str serial);
void net_revoked_add_node(struct net_revoked *revoked, struct sk_str node, int64_t until_wall_ms);
void net_revoked_clear(struct net_revoked *revoked); /* before loading the whole list anew */
bool net_revoked_has(const struct net_revoked *revoked, const struct net_cert_info *info);
size_t net_revoked_count(const struct net_revoked *revoked);

#endif
