/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a sealed file, and as the entries that would be in one. A first byte says how they
 * are cut; however that is, the outcome is the same. */
#include "daemon/backup_files.h"
#include "net/seal_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
    size_t open, bytes, whole;
};

static int begin(void *ctx, const char *name, mode_t mode, struct sk_err *err)
{
    struct memory *m = ctx;

    (void)err;
    SK_ASSERT(m->open == 0 && name[0] && name[0] != '/' && !strstr(name, "..") &&
              (mode == 0600 || mode == 0644));
    m->open = 1;
    return 0;
}

static int bytes(void *ctx, struct sk_str text, struct sk_err *err)
{
    struct memory *m = ctx;

    (void)err;
    SK_ASSERT(m->open == 1);
    m->bytes += text.len;
    return 0;
}

static int finish(void *ctx, struct sk_err *err)
{
    struct memory *m = ctx;

    (void)err;
    m->open = 0;
    m->whole++;
    return 0;
}

static int try_entries(struct sk_str text, size_t step, struct memory *m)
{
    struct backup_entries entries = {.sink = {begin, bytes, finish, m}};
    struct sk_err err = {0};
    int r = 0;

    for (size_t at = 0; at < text.len && r == 0; at += step) {
        size_t n = text.len - at < step ? text.len - at : step;
        r = backup_entries_feed(&entries, (struct sk_str){text.ptr + at, n}, &err);
    }
    r = r < 0 ? r : backup_entries_check(&entries, &err);
    SK_ASSERT(r == 0 || err.code == SK_ERR_CORRUPT);
    backup_entries_release(&entries);
    return r;
}

static int try_file(struct sk_str text, size_t step, struct sk_buf *out)
{
    static const struct seal_code code = {{1}};
    struct seal_reader *reader = seal_reader_new(&code);
    struct sk_err err = {0};
    int r = 0;

    for (size_t at = 0; at < text.len && r == 0; at += step) {
        size_t n = text.len - at < step ? text.len - at : step;
        r = seal_reader_feed(reader, (struct sk_str){text.ptr + at, n}, out, &err);
    }
    r = r < 0 ? r : seal_reader_end(reader, out, &err);
    SK_ASSERT(r == 0 || (err.code == r && err.msg[0]));
    seal_reader_free(reader);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_buf one = SK_BUF_INIT, two = SK_BUF_INIT;
    struct memory a = {0}, b = {0};
    struct sk_str text;
    size_t step;

    if (size == 0) {
        return 0;
    }
    step = data[0] ? data[0] : 1;
    text = (struct sk_str){(const char *)data + 1, size - 1};
    SK_ASSERT(try_entries(text, step, &a) == try_entries(text, size, &b));
    SK_ASSERT(a.bytes == b.bytes && a.whole == b.whole);
    SK_ASSERT(try_file(text, step, &one) == try_file(text, size, &two));
    SK_ASSERT(sk_str_eq(sk_buf_str(&one), sk_buf_str(&two)));
    sk_buf_release(&one);
    sk_buf_release(&two);
    return 0;
}
