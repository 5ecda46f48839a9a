/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/seal_file.h"

#define HEAD "{\"v\":1,\"what\":\"test\"}"
#define FRONT (20 + sizeof(HEAD) - 1 + 80 + 24)
#define CHUNK (SEAL_CHUNK_BYTES + 17)

static struct seal_code code;

static int set_up(void **state)
{
    (void)state;
    seal_code_new(&code);
    return 0;
}

static void content(size_t size, struct sk_buf *out)
{
    sk_buf_reserve(out, size + 1);
    for (size_t i = 0; i < size; i++) {
        out->ptr[i] = (char)(i * 31 + i / 251);
    }
    out->len = size;
}

/* The file, given to the writer in pieces of `step` bytes. */
static void make(size_t size, size_t step, struct sk_buf *out)
{
    uint8_t public_key[SEAL_PUBLIC_BYTES];
    struct sk_buf bytes = SK_BUF_INIT;
    struct seal_writer *writer;
    seal_code_public(&code, public_key);
    content(size, &bytes);
    writer = seal_writer_new(public_key, SK_STR(HEAD), out);
    for (size_t at = 0; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        seal_writer_add(writer, (struct sk_str){bytes.ptr + at, n}, out);
    }
    seal_writer_end(writer, out);
    seal_writer_free(writer);
    sk_buf_release(&bytes);
}

static int read_back(struct sk_str file, size_t step, const struct seal_code *by,
                     struct sk_buf *out, struct sk_err *err)
{
    struct seal_reader *reader = seal_reader_new(by);
    int r = 0;
    for (size_t at = 0; at < file.len && r == 0; at += step) {
        size_t n = file.len - at < step ? file.len - at : step;
        r = seal_reader_feed(reader, (struct sk_str){file.ptr + at, n}, out, err);
    }
    r = r < 0 ? r : seal_reader_end(reader, out, err);
    if (r == 0) {
        assert_true(sk_str_is(seal_reader_head(reader), HEAD));
    }
    seal_reader_free(reader);
    return r;
}

static void round_trips(void **state)
{
    static const size_t sizes[] = {0,
                                   1,
                                   SEAL_CHUNK_BYTES - 1,
                                   SEAL_CHUNK_BYTES,
                                   SEAL_CHUNK_BYTES + 1,
                                   2 * SEAL_CHUNK_BYTES,
                                   3 * SEAL_CHUNK_BYTES + 77};
    static const size_t steps[] = {97, 4096, CHUNK, 1 << 20};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
            struct sk_buf file = SK_BUF_INIT, out = SK_BUF_INIT, want = SK_BUF_INIT;
            struct sk_err err = {0};
            content(sizes[i], &want);
            make(sizes[i], steps[k], &file);
            assert_int_equal(read_back(sk_buf_str(&file), steps[3 - k], &code, &out, &err), 0);
            assert_true(sk_str_eq(sk_buf_str(&out), sk_buf_str(&want)));
            sk_buf_release(&file);
            sk_buf_release(&out);
            sk_buf_release(&want);
        }
    }
}

/* Whatever is read before the error is a true beginning of what was written. */
static void refused(struct sk_str file, int want, const char *what)
{
    struct sk_buf out = SK_BUF_INIT, whole = SK_BUF_INIT;
    struct sk_err err = {0};
    int r = read_back(file, 8192, &code, &out, &err);
    content(3 * SEAL_CHUNK_BYTES + 77, &whole);
    if (r == 0 || (want && r != want)) {
        fail_msg("%s: %d %s", what, r, err.msg);
    }
    assert_true(out.len <= whole.len && memcmp(out.ptr ? out.ptr : "", whole.ptr, out.len) == 0);
    sk_buf_release(&out);
    sk_buf_release(&whole);
}

static void nothing_altered_passes(void **state)
{
    struct sk_buf file = SK_BUF_INIT, other = SK_BUF_INIT;
    struct seal_code wrong;
    struct sk_err err = {0};
    (void)state;
    make(3 * SEAL_CHUNK_BYTES + 77, 1 << 20, &file);
    assert_int_equal(file.len, FRONT + 3 * CHUNK + 77 + 17);
    assert_int_equal(read_back(sk_buf_str(&file), 8192, &code, &other, &err), 0);
    sk_buf_clear(&other);
    for (size_t i = 0; i < FRONT + 40; i++) { /* each byte of the front, and some of a chunk */
        file.ptr[i] ^= 1;
        refused(sk_buf_str(&file), 0, "an altered byte");
        file.ptr[i] ^= 1;
    }
    for (size_t i = FRONT; i < file.len; i += 9973) {
        file.ptr[i] ^= 0x40;
        refused(sk_buf_str(&file), SK_ERR_CORRUPT, "an altered chunk");
        file.ptr[i] ^= 0x40;
    }
    for (size_t i = 0; i < 4; i++) { /* cut off at each chunk */
        refused((struct sk_str){file.ptr, FRONT + i * CHUNK}, SK_ERR_CORRUPT, "no last chunk");
    }
    for (size_t i = 1; i < FRONT; i++) {
        refused((struct sk_str){file.ptr, i}, SK_ERR_CORRUPT, "cut short");
    }
    refused((struct sk_str){file.ptr, file.len - 1}, SK_ERR_CORRUPT, "a byte short");
    refused(SK_STR(""), SK_ERR_INPUT, "nothing");
    /* a chunk less, twice, or two that changed places */
    sk_buf_add(&other, file.ptr, FRONT + CHUNK);
    sk_buf_add(&other, file.ptr + FRONT + 2 * CHUNK, CHUNK + 77 + 17);
    refused(sk_buf_str(&other), SK_ERR_CORRUPT, "a chunk left out");
    sk_buf_clear(&other);
    sk_buf_add(&other, file.ptr, FRONT + CHUNK);
    sk_buf_add(&other, file.ptr + FRONT, file.len - FRONT);
    refused(sk_buf_str(&other), SK_ERR_CORRUPT, "a chunk twice");
    sk_buf_clear(&other);
    sk_buf_add(&other, file.ptr, file.len);
    sk_buf_addc(&other, 'x');
    refused(sk_buf_str(&other), SK_ERR_CORRUPT, "a byte more");
    sk_buf_add(&other, file.ptr, CHUNK);
    refused(sk_buf_str(&other), SK_ERR_CORRUPT, "more than a chunk more");
    seal_code_new(&wrong);
    sk_buf_clear(&other);
    assert_int_equal(read_back(sk_buf_str(&file), 8192, &wrong, &other, &err), SK_ERR_DENIED);
    assert_int_equal(other.len, 0);
    refused(SK_STR("#!/bin/sh\n"), SK_ERR_INPUT, "another file");
    file.ptr[14] = '2';
    assert_int_equal(read_back(sk_buf_str(&file), 5, &code, &other, &err), SK_ERR_UNSUPPORTED);
    sk_buf_release(&file);
    sk_buf_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips),
                                       cmocka_unit_test(nothing_altered_passes)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
