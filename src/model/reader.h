/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_READER_H
#define SK_MODEL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/tree.h"
#include "model/inventory.h"
#include "model/project.h"

/*
 * Reading a tree strictly: the part that inventory, project and plan share. Internal to model; the
 * topology of a lab is read by it too.
 *
 * A `struct spot` is a value of the tree with the way that led to it, so that every message can say
 * "file:line:col: 'services.web.deploy.replicas' ..." and nothing is formatted unless it fails.
 * Spots live on the stack of whoever walks the tree.
 *
 * A `struct rd_object` lists the keys that a map may have. That one table is the validator (known,
 * refused, unknown with the nearest name), the dispatcher (`read`) and the source of the support
 * matrix in the documentation.
 *
 * All functions return 0 or a negative code with rd->err filled in.
 */
struct rd {
    struct sk_arena *arena; /* for results */
    struct sk_arena *scratch;
    const char *file; /* NUL-terminated, in the arena */
    struct sk_err err;
    bool interpolate;              /* replace ${VAR} in scalars */
    const struct project_env *env; /* NULL: nothing is set, no file can be read */
    size_t expanded;               /* bytes made by interpolation so far */
    bool for_apply;                /* keys that are only planned are refused */
    bool tolerant;                 /* keys of another version are passed over */
};

/* What all interpolation in one document may produce. */
#define RD_EXPANDED_MAX (64u * 1024u * 1024u)
/* Names of sites, nodes, services, projects, buckets and users. */
#define RD_NAME_MAX 63

struct spot {
    const struct sk_node *node;
    const struct spot *up; /* NULL at the root */
    struct sk_str key;     /* of a member; ptr NULL for an item of a list and the root */
    uint32_t index;        /* of an item */
    uint32_t key_line;     /* of a member */
    uint32_t key_col;
};

enum rd_status {
    RD_EXECUTED, /* done by a running cluster */
    RD_PLANNED,  /* counts in plans; refused by apply until it is executed */
    RD_IGNORED,  /* accepted, without effect */
    RD_REFUSED,  /* known, and an error until it is executed */
};

typedef int rd_fn(struct rd *rd, const struct spot *at, void *into);

struct rd_key {
    const char *name;
    enum rd_status status;
    rd_fn *read;      /* NULL if ignored or refused */
    const char *form; /* the values it takes, for the documentation */
    const char *note; /* refused: the fix; else a remark for the documentation; NULL: none */
};

struct rd_object {
    const char *place; /* for the documentation: "services.*.deploy" */
    const struct rd_key *keys;
    size_t nkeys;
    const char *const
        *known;      /* all keys of the public Compose schema, NULL-ended; NULL: not Compose's */
    bool extensions; /* x-* keys are ignored, but for x-skerry */
    bool skerry;     /* has an x-skerry of its own */
};

struct spot spot_root(const struct sk_node *root);
struct spot spot_member(const struct spot *map, const struct sk_member *member);
struct spot spot_item(const struct spot *seq, uint32_t index);
struct sk_pos spot_pos(const struct rd *rd, const struct spot *at);

/* "file:line:col: 'path' <text>", at the value. */
int rd_bad(struct rd *rd, const struct spot *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "file:line:col: <text>" with a code of the caller's choice. */
int rd_fail(struct rd *rd, struct sk_pos pos, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts "file:line:col: 'path': " in front of the message that is in rd->err. */
int rd_wrap(struct rd *rd, const struct spot *at);
/* The dotted path of a spot, NUL-terminated in `out`; cut when it does not fit. */
void spot_path(const struct spot *at, char *out, size_t size);

/* Scalars. A number, a boolean and a string of the same text are equal here where Compose takes
 * either. `ret` strings live in rd->arena. */
int rd_scalar(struct rd *rd, const struct spot *at, struct sk_str *ret); /* any scalar but null */
int rd_string(struct rd *rd, const struct spot *at, struct sk_str *ret); /* strings only */
int rd_filled(struct rd *rd, const struct spot *at, size_t max,
              struct sk_str *ret); /* 1..max bytes */
int rd_bool(struct rd *rd, const struct spot *at, bool *ret);
int rd_int(struct rd *rd, const struct spot *at, int64_t min, int64_t max, int64_t *ret);
int rd_num(struct rd *rd, const struct spot *at, double min, double max, double *ret);
int rd_share(struct rd *rd, const struct spot *at, double *ret); /* 0.95 or 95% */
int rd_cpus(struct rd *rd, const struct spot *at, int64_t *ret_nano);
int rd_bytes(struct rd *rd, const struct spot *at, int64_t *ret_bytes);
int rd_duration(struct rd *rd, const struct spot *at, int64_t *ret_ms);
int rd_point(struct rd *rd, const struct spot *at, double *ret_lat, double *ret_lon);
int rd_port(struct rd *rd, const struct spot *at, uint16_t *ret);

/* Containers. */
int rd_want(struct rd *rd, const struct spot *at, enum sk_kind kind);
int rd_at_most(struct rd *rd, const struct spot *at, uint32_t max); /* entries */
/* Each member of a map or item of a list, in the order of the file. */
int rd_each(struct rd *rd, const struct spot *at, rd_fn *fn, void *into);
/* A map with the keys of `object`. Null values count as not written. */
int rd_object_read(struct rd *rd, const struct spot *at, const struct rd_object *object,
                   void *into);
/* A string or a list of strings. */
int rd_strings(struct rd *rd, const struct spot *at, uint32_t max, const struct sk_str **ret,
               size_t *ret_count);
/* A map of scalars, or a list of "KEY=VALUE" (Compose's list_or_dict). Sorted by key. */
int rd_kvs(struct rd *rd, const struct spot *at, uint32_t max, const struct sk_kv **ret,
           size_t *ret_count);

/* Names: 1..RD_NAME_MAX of letters, digits, '_', '.', '-', starting with a letter or digit. */
bool rd_name_valid(struct sk_str name);
int rd_name(struct rd *rd, struct sk_pos pos, const char *what, struct sk_str name);
/* As Compose names projects and services: the same in lower case, without dots. */
bool rd_compose_name_valid(struct sk_str name);
int rd_compose_name(struct rd *rd, struct sk_pos pos, const char *what, struct sk_str name);
/* Keys of environments and labels: printable ASCII without spaces and '='. */
bool rd_kv_key_valid(struct sk_str key);

/* Sorts by key; false with *ret_dup set if a key is there twice. */
bool rd_sort_kvs(struct sk_kv *kvs, size_t count, struct sk_str *ret_dup);
/* "a=b" of a list, cut; or a whole key with *ret_has false. */
bool rd_cut_kv(struct sk_str text, struct sk_str *ret_key, struct sk_str *ret_value);

/* "./app" for a name the caller gives; the text is kept in the arena. */
void rd_begin(struct rd *rd, struct sk_arena *arena, struct sk_arena *scratch, const char *name);
/* Copies rd->err to err (NULL allowed) and returns the code. */
int rd_end(const struct rd *rd, struct sk_err *err);

#endif
