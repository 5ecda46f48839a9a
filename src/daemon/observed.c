/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/observed.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "sys/table.h"

#define ID_BYTES 65

struct observed_row {
    char id[ID_BYTES];
    struct sk_buf json;
    UT_hash_handle hh;
};

static void remove_row(struct observed *observed, struct observed_row *row)
{
    HASH_DEL(observed->rows, row);
    sk_buf_release(&row->json);
    free(row);
}

void observed_release(struct observed *observed)
{
    struct observed_row *row, *next;

    HASH_ITER (hh, observed->rows, row, next) {
        remove_row(observed, row);
    }
}

void observed_take(struct observed *observed, const struct sk_node *frame)
{
    const struct sk_node *list = sk_map_seq(frame, "instances");

    if (sk_map_bool(frame, "full", false)) {
        observed_release(observed);
        observed->known = true;
    }
    observed->obs_rev = sk_map_int(frame, "obs_rev", 0);
    observed->assign_rev = sk_map_int(frame, "assign_rev", 0);
    observed->term = sk_map_int(frame, "term", 0);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct sk_node *item = &list->u.items[i];
        struct sk_str id = item->kind == SK_MAP ? sk_map_str(item, "id", SK_STR("")) : SK_STR("");
        struct observed_row *row = NULL;
        struct sk_jw w;
        if (id.len == 0 || id.len >= ID_BYTES) {
            continue;
        }
        HASH_FIND(hh, observed->rows, id.ptr, id.len, row);
        if (!row) {
            row = sk_xcalloc(1, sizeof(*row));
            memcpy(row->id, id.ptr, id.len);
            HASH_ADD(hh, observed->rows, id, id.len, row);
        }
        sk_buf_clear(&row->json);
        sk_jw_init(&w, &row->json);
        sk_jw_node(&w, item);
    }
}

void observed_write(const struct observed *observed, struct sk_buf *out)
{
    struct sk_jw w;

    sk_jw_init(&w, out);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "observe");
    sk_jw_kint(&w, "obs_rev", observed->obs_rev);
    sk_jw_kint(&w, "assign_rev", observed->assign_rev);
    sk_jw_kbool(&w, "full", true);
    sk_jw_key(&w, "instances");
    sk_jw_arr(&w);
    for (const struct observed_row *row = observed->rows; row; row = row->hh.next) {
        sk_jw_raw(&w, sk_buf_str(&row->json));
    }
    sk_jw_arr_end(&w);
    sk_jw_obj_end(&w);
}
