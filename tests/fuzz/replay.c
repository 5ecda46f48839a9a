/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main of every fuzz target in the normal suite: no libFuzzer needed. Runs the target over each
 * file of the folders given (sorted), over the file's prefixes, and over a few hundred fixed
 * mutations of it. A finding is a crash or a failed assertion. usage: replay_NAME FOLDER...
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"

#define PREFIXES_MAX 512
#define MUTATIONS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* On an exact heap copy, so that the address sanitizer sees a read past the end. */
static void run(const char *bytes, size_t len)
{
    uint8_t *copy = sk_xmalloc(len);

    if (len) {
        memcpy(copy, bytes, len);
    }
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_mutations(struct sk_buf *input)
{
    struct sk_prng prng;

    sk_prng_seed(&prng, input->len);
    for (int i = 0; i < MUTATIONS && input->len > 0; i++) {
        struct sk_buf mutant = SK_BUF_INIT;
        size_t count = 1 + sk_prng_below(&prng, 4);
        sk_buf_add(&mutant, input->ptr, input->len);
        for (size_t k = 0; k < count; k++) {
            size_t at = sk_prng_below(&prng, mutant.len);
            size_t from = sk_prng_below(&prng, mutant.len);
            switch (sk_prng_below(&prng, 3)) {
            case 0:
                mutant.ptr[at] = (char)sk_prng_below(&prng, 256);
                break;
            case 1:
                mutant.ptr[at] = mutant.ptr[from];
                break;
            default: /* a piece comes again at the end */
                sk_buf_reserve(&mutant, mutant.len);
                sk_buf_add(&mutant, mutant.ptr + from, mutant.len - from);
                break;
            }
        }
        run(mutant.ptr, mutant.len);
        sk_buf_release(&mutant);
    }
}

static int run_file(const char *folder, const char *name)
{
    struct sk_buf input = SK_BUF_INIT;
    char path[4096];
    char chunk[4096];
    FILE *file;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        sk_buf_add(&input, chunk, n);
    }
    (void)fclose(file);
    for (size_t len = 0; len < input.len && len < PREFIXES_MAX; len++) {
        run(input.ptr, len);
    }
    run(input.ptr, input.len);
    run_mutations(&input);
    sk_buf_release(&input);
    return 0;
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    int files = 0;

    for (int i = 1; i < argc; i++) {
        struct dirent **entries;
        int count = scandir(argv[i], &entries, not_hidden, alphasort);
        if (count < 0) {
            perror(argv[i]);
            return 1;
        }
        for (int k = 0; k < count; k++) {
            if (run_file(argv[i], entries[k]->d_name) < 0) {
                return 1;
            }
            files++;
            free(entries[k]);
        }
        free(entries);
    }
    printf("%d files\n", files);
    return files > 0 ? 0 : 1;
}
