/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_PLAN_FIELDS_H
#define SK_MODEL_PLAN_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The shape of `skerry.plan/1`, as one table per object: it drives the writer, the strict reader
 * and the canonical form under the id, so that these cannot drift apart. Internal to model.
 */
enum field_kind {
    FIELD_FORMAT,  /* the constant "skerry.plan/1" */
    FIELD_ID,      /* char[72] */
    FIELD_VERDICT, /* enum plan_verdict */
    FIELD_STR,     /* struct sk_str */
    FIELD_NAME,    /* struct sk_str; "" is null */
    FIELD_INT,     /* int64_t, never negative */
    FIELD_NUM,     /* double */
    FIELD_MAYBE,   /* struct plan_maybe; not known is null */
    FIELD_BOOL,    /* bool */
    FIELD_CONTROL, /* bool, as "kept" or "lost" */
    FIELD_STRS,    /* struct sk_str * and its count */
    FIELD_SHARDS,  /* struct plan_shard_count * and its count, as {"site": n} */
    FIELD_ROWS,    /* a pointer to structs and its count, as a list of objects */
    FIELD_OBJECT,  /* an object whose fields are at this offset */
};

struct layout;

struct field {
    const char *name;
    enum field_kind kind;
    size_t at;                   /* offset of the value */
    size_t count_at;             /* offset of the size_t count, of lists */
    size_t size;                 /* of one row, of FIELD_ROWS */
    const struct layout *layout; /* of FIELD_ROWS and FIELD_OBJECT */
    bool optional;               /* may be absent; written only when it is not zero (FIELD_NUM) */
    bool outside;                /* not under the id */
};

#define LAYOUT_FIELDS_MAX 16

struct layout {
    const struct field *fields; /* in the order in which they are written */
    const uint8_t *sorted;      /* indexes into fields in the order of RFC 8785 */
    size_t count;
};

extern const struct layout plan_layout;

#endif
