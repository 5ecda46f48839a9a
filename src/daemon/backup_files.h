/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_DAEMON_BACKUP_FILES_H
#define SK_DAEMON_BACKUP_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/*
 * Inside the backup only: which files it holds, and the reader of its entries. Pure but for what
 * the caller's functions do: tests and the fuzz target read entries into memory.
 */
#define BACKUP_FILE_BYTES_MAX (1 << 20) /* of all but the state */
#define BACKUP_STATE_BYTES_MAX (16LL << 30)
#define BACKUP_STATE "control/state.db"

struct backup_file {
    const char *name;
    mode_t mode;
    bool optional;
};
extern const struct backup_file backup_files[]; /* all but the state */
extern const size_t backup_nfiles;

/* Where entries go. A name that this version does not know is left out. */
struct backup_sink {
    int (*begin)(void *ctx, const char *name, mode_t mode, struct sk_err *err);
    int (*bytes)(void *ctx, struct sk_str bytes, struct sk_err *err);
    int (*finish)(void *ctx, struct sk_err *err); /* the entry is whole */
    void *ctx;
};

struct backup_entries {
    struct backup_sink sink;
    struct sk_buf line;
    int64_t left;       /* bytes of the entry under way */
    uint64_t seen;      /* a bit a file */
    bool inside, known; /* an entry is under way; it is one of ours */
    bool ended;
};

void backup_entry_write(const char *name, mode_t mode, int64_t size, struct sk_buf *out);
void backup_end_write(struct sk_buf *out);
/* SK_ERR_CORRUPT for what is not of the form; else what the sink says. */
int backup_entries_feed(struct backup_entries *entries, struct sk_str bytes, struct sk_err *err);
/* Whole, and with every file that is needed. */
int backup_entries_check(const struct backup_entries *entries, struct sk_err *err);
void backup_entries_release(struct backup_entries *entries);

#endif
