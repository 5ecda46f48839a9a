/* SPDX-License-Identifier: Apache-2.0 */
/* docs/declaration.md holds the reference that the reader's own tables make; with SKERRY_UPDATE set
 * this writes it. */
#include "model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/inventory.h"
#include "model/project.h"

static void read_page(const char *path, struct sk_buf *out)
{
    char bytes[4096];
    size_t n;
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    while ((n = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        sk_buf_add(out, bytes, n);
    }
    fclose(file);
}

/* The page with the part between the lines `begin` and `end` replaced. */
static void replace(const struct sk_buf *page, const char *begin, const char *end,
                    const struct sk_buf *part, struct sk_buf *out)
{
    const char *from = strstr(page->ptr, begin);
    const char *to;

    assert_non_null(from);
    from = strchr(from, '\n');
    assert_non_null(from);
    to = strstr(from, end);
    assert_non_null(to);
    sk_buf_add(out, page->ptr, (size_t)(from + 1 - page->ptr));
    sk_buf_addstr(out, sk_buf_str(part));
    sk_buf_adds(out, to);
}

static void page_holds_what_the_tables_say(void **state)
{
    char path[4096];
    struct sk_buf page = SK_BUF_INIT;
    struct sk_buf matrix = SK_BUF_INIT;
    struct sk_buf inventory = SK_BUF_INIT;
    struct sk_buf half = SK_BUF_INIT;
    struct sk_buf want = SK_BUF_INIT;

    (void)snprintf(path, sizeof(path), "%s/docs/declaration.md", getenv("SKERRY_SOURCE_ROOT"));
    read_page(path, &page);
    project_support_matrix(&matrix);
    sk_buf_addc(&matrix, '\n');
    inventory_reference(&inventory);
    sk_buf_addc(&inventory, '\n');
    replace(&page, "<!-- begin: generated", "<!-- end: matrix", &matrix, &half);
    replace(&half, "<!-- begin: inventory", "<!-- end: inventory", &inventory, &want);
    if (getenv("SKERRY_UPDATE")) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(want.ptr, 1, want.len, file), want.len);
        assert_int_equal(fclose(file), 0);
    } else {
        assert_string_equal(page.ptr, want.ptr);
    }
    sk_buf_release(&page);
    sk_buf_release(&matrix);
    sk_buf_release(&inventory);
    sk_buf_release(&half);
    sk_buf_release(&want);
}

static void every_status_is_there(void **state)
{
    struct sk_buf matrix = SK_BUF_INIT;

    project_support_matrix(&matrix);
    assert_non_null(strstr(matrix.ptr, "| `image` | executed |"));
    assert_non_null(strstr(matrix.ptr, "| `exclusive` | executed |"));
    assert_non_null(strstr(matrix.ptr, "| `buckets` | planned |"));
    assert_non_null(strstr(matrix.ptr, "| `version` | ignored |"));
    assert_non_null(strstr(matrix.ptr, "| `build` | refused |"));
    assert_non_null(strstr(matrix.ptr, "`privileged`"));
    sk_buf_release(&matrix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_holds_what_the_tables_say),
        cmocka_unit_test(every_status_is_there),
    };
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
