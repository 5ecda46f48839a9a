/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/backup_files.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "net/seal.h"

#define LINE_BYTES_MAX 512
#define STATE_BIT (1ULL << 63)

const struct backup_file backup_files[] = {
    {"node.json", 0644, false},
    {"control/ca.pem", 0644, false},
    {"control/ca.key.sealed", 0600, false},
    {"control/probe.key.sealed", 0600, false},
    {"control/cluster.key.sealed", 0600, false},
    {"control/peer.key.sealed", 0600, true},
    {"control/etcd-ca.key.sealed", 0600, true},
    {"control/recovery.json", 0600, false},
    {"identity/node.key", 0600, false},
    {"identity/node.pem", 0644, false},
    {"identity/ca.pem", 0644, false},
    {"identity/probe.key", 0600, true},
};
const size_t backup_nfiles = SK_ARRAY_LEN(backup_files);

void backup_entry_write(const char *name, mode_t mode, int64_t size, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kcstr(&w, "name", name);
    sk_jw_kint(&w, "size", size);
    sk_jw_kint(&w, "mode", mode);
    sk_jw_obj_end(&w);
    sk_buf_addc(out, '\n');
}

void backup_end_write(struct sk_buf *out)
{
    sk_buf_adds(out, "{\"end\":true}\n");
}

static int bad(struct sk_err *err, const char *why)
{
    return sk_err_set(err, SK_ERR_CORRUPT, "the backup is not of the form: %s", why);
}

/* The file's bit and facts; 0 for one that this version does not know. */
static uint64_t bit_of(struct sk_str name, const char **ret_name, mode_t *ret_mode)
{
    if (sk_str_is(name, BACKUP_STATE)) {
        *ret_name = BACKUP_STATE;
        *ret_mode = 0600;
        return STATE_BIT;
    }
    for (size_t i = 0; i < backup_nfiles; i++) {
        if (sk_str_is(name, backup_files[i].name)) {
            *ret_name = backup_files[i].name;
            *ret_mode = backup_files[i].mode;
            return 1ULL << i;
        }
    }
    return 0;
}

static int begin_entry(struct backup_entries *e, const struct sk_node *root, struct sk_err *err)
{
    struct sk_str text = sk_map_str(root, "name", SK_STR(""));
    const char *name = NULL;
    mode_t mode = 0;
    uint64_t bit = bit_of(text, &name, &mode);
    int64_t max = bit == STATE_BIT ? BACKUP_STATE_BYTES_MAX : BACKUP_FILE_BYTES_MAX;

    if (sk_map_bool(root, "end", false)) {
        e->ended = true;
        return 0;
    }
    e->left = sk_map_int(root, "size", -1);
    if (text.len == 0 || e->left < 0 || e->left > max) {
        return bad(err, "an entry without name or with a size that cannot be");
    }
    if (e->seen & bit) {
        return bad(err, "a file twice");
    }
    e->seen |= bit;
    e->known = bit != 0;
    e->inside = true;
    return e->known ? e->sink.begin(e->sink.ctx, name, mode, err) : 0;
}

static int take_line(struct backup_entries *e, struct sk_err *err)
{
    struct sk_arena *arena = sk_arena_new();
    const struct sk_node *root = NULL;
    int r = sk_json_read(arena, "entry", sk_buf_str(&e->line), NULL, &root, NULL);

    r = r < 0 || root->kind != SK_MAP ? bad(err, "an entry that is no JSON object")
                                      : begin_entry(e, root, err);
    sk_buf_clear(&e->line);
    sk_arena_free(arena);
    return r;
}

static int maybe_finish(struct backup_entries *e, struct sk_err *err)
{
    if (!e->inside || e->left > 0) {
        return 0;
    }
    e->inside = false;
    return e->known ? e->sink.finish(e->sink.ctx, err) : 0;
}

static int take_bytes(struct backup_entries *e, struct sk_str *bytes, struct sk_err *err)
{
    size_t n = (int64_t)bytes->len < e->left ? bytes->len : (size_t)e->left;
    int r = e->known ? e->sink.bytes(e->sink.ctx, (struct sk_str){bytes->ptr, n}, err) : 0;

    bytes->ptr += n;
    bytes->len -= n;
    e->left -= (int64_t)n;
    return r;
}

int backup_entries_feed(struct backup_entries *e, struct sk_str bytes, struct sk_err *err)
{
    int r = 0;

    while (bytes.len && r == 0) {
        const char *newline;
        size_t n;
        if (e->ended) {
            return bad(err, "it goes on after its end");
        }
        if (e->inside) {
            r = take_bytes(e, &bytes, err);
            r = r < 0 ? r : maybe_finish(e, err);
            continue;
        }
        newline = memchr(bytes.ptr, '\n', bytes.len);
        n = newline ? (size_t)(newline - bytes.ptr) : bytes.len;
        if (e->line.len + n > LINE_BYTES_MAX) {
            return bad(err, "an entry's line that is too long");
        }
        sk_buf_add(&e->line, bytes.ptr, n);
        bytes.ptr += newline ? n + 1 : n;
        bytes.len -= newline ? n + 1 : n;
        if (newline) {
            r = take_line(e, err);
            r = r < 0 ? r : maybe_finish(e, err); /* an empty file */
        }
    }
    return r;
}

int backup_entries_check(const struct backup_entries *e, struct sk_err *err)
{
    if (!e->ended) {
        return bad(err, "it has no end");
    }
    for (size_t i = 0; i < backup_nfiles; i++) {
        if (!backup_files[i].optional && !(e->seen & (1ULL << i))) {
            return sk_err_set(err, SK_ERR_CORRUPT, "the backup holds no '%s'",
                              backup_files[i].name);
        }
    }
    return e->seen & STATE_BIT ? 0 : bad(err, "it holds no state");
}

void backup_entries_release(struct backup_entries *e)
{
    sk_buf_release(&e->line);
}
