/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_VAULT_FILES_H
#define SK_DAEMON_VAULT_FILES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "daemon/vault.h"

/* Inside the vault only: its files, each written whole and durably with mode 0600. */
#define VAULT_DIR_SIZE 512
#define VAULT_KEY_FILE "unseal.key"
#define VAULT_SHARE_FILE "share.json"
#define VAULT_HELD_DIR "held"
#define VAULT_RECOVERY_FILE "recovery.json"

extern const char *const vault_names[]; /* of the secrets that a vault may hold */
extern const size_t vault_nnames;

bool vault_file_there(const char *dir, const char *name);
/* DIR/NAMEend; appends. */
int vault_file_read(const char *dir, const char *name, const char *end, struct sk_buf *ret,
                    struct sk_err *err);
int vault_file_write(const char *dir, const char *name, const char *end, struct sk_str bytes,
                     struct sk_err *err);
int vault_file_remove(const char *dir, const char *name, struct sk_err *err);

/* SK_ERR_NOT_FOUND; SK_ERR_CORRUPT for what is no share. */
int vault_share_read(const char *dir, const char *name, struct seal_share *ret, struct sk_err *err);

int vault_recovery_write(const char *dir, const char *cluster, const struct vault_recovery *rec,
                         const uint8_t key[SEAL_KEY_BYTES], struct sk_err *err);
/* The unseal key that recovery.json holds for the code. */
int vault_recovery_open(const char *dir, const struct seal_code *code, uint8_t ret[SEAL_KEY_BYTES],
                        struct sk_err *err);

#endif
