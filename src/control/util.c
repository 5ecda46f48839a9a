/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "control/internal.h"

char *ctl_dup(struct sk_str s)
{
    return sk_xstrndup(s.ptr ? s.ptr : "", s.len);
}

void ctl_set(char **at, struct sk_str s)
{
    char *copy = ctl_dup(s);
    free(*at);
    *at = copy;
}

struct sk_str ctl_arena_dup(struct sk_arena *arena, struct sk_str s)
{
    return s.ptr ? sk_arena_str(arena, s) : SK_STR("");
}

bool ctl_is_hex(struct sk_str s, size_t len)
{
    if (s.len != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char ch = s.ptr[i];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f'))) {
            return false;
        }
    }
    return true;
}

bool ctl_digits(struct sk_str s, int64_t *ret)
{
    int64_t value = 0;
    if (s.len == 0 || s.len > 18) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return false;
        }
        value = value * 10 + (s.ptr[i] - '0');
    }
    *ret = value;
    return true;
}

/* The prng alone could be run on by whoever sees its output; the secret and the hash stop that. */
void ctl_id(struct control *c, char out[33])
{
    uint8_t bytes[32 + 8 + 8];
    uint8_t digest[SK_SHA256_BYTES];
    uint64_t random = sk_prng_u64(&c->prng);

    c->id_counter++;
    memcpy(bytes, c->secret, 32);
    memcpy(bytes + 32, &random, 8);
    memcpy(bytes + 40, &c->id_counter, 8);
    sk_sha256((struct sk_str){(const char *)bytes, sizeof(bytes)}, digest);
    digest[0] = (uint8_t)((digest[0] & 0x7f) | 0x40);
    sk_hex(digest, 16, out);
}

struct control_command *ctl_out(struct control_commands *out, enum control_command_kind kind)
{
    if (out->arena == NULL) {
        out->arena = sk_arena_new();
    }
    SK_GROW(out->items, out->count, out->cap);
    struct control_command *cmd = &out->items[out->count++];
    memset(cmd, 0, sizeof(*cmd));
    cmd->kind = kind;
    return cmd;
}

void control_commands_clear(struct control_commands *out)
{
    sk_arena_free(out->arena);
    out->arena = NULL;
    out->count = 0;
}

void control_commands_release(struct control_commands *out)
{
    control_commands_clear(out);
    free(out->items);
    out->items = NULL;
    out->cap = 0;
}

static void command_copy(struct control_commands *to, const struct control_command *from)
{
    struct control_command *cmd = ctl_out(to, from->kind);
    struct sk_arena *a = to->arena;

    *cmd = *from;
    switch (from->kind) {
    case CONTROL_CMD_REPLY:
        cmd->u.reply.json = ctl_arena_dup(a, from->u.reply.json);
        break;
    case CONTROL_CMD_ISSUE_CERT:
        cmd->u.issue.node = ctl_arena_dup(a, from->u.issue.node);
        cmd->u.issue.site = ctl_arena_dup(a, from->u.issue.site);
        cmd->u.issue.csr = ctl_arena_dup(a, from->u.issue.csr);
        cmd->u.issue.serial = ctl_arena_dup(a, from->u.issue.serial);
        cmd->u.issue.prefix = ctl_arena_dup(a, from->u.issue.prefix);
        cmd->u.issue.cluster = ctl_arena_dup(a, from->u.issue.cluster);
        break;
    case CONTROL_CMD_REVOKE:
        cmd->u.revoke.serial = ctl_arena_dup(a, from->u.revoke.serial);
        cmd->u.revoke.node = ctl_arena_dup(a, from->u.revoke.node);
        break;
    case CONTROL_CMD_CLOSE:
        cmd->u.close.node = ctl_arena_dup(a, from->u.close.node);
        break;
    case CONTROL_CMD_LEASED:
        cmd->u.leased.node = ctl_arena_dup(a, from->u.leased.node);
        cmd->u.leased.body = ctl_arena_dup(a, from->u.leased.body);
        break;
    case CONTROL_CMD_EVENT:
        cmd->u.event.json = ctl_arena_dup(a, from->u.event.json);
        break;
    case CONTROL_CMD_TXN:
    case CONTROL_CMD_LOAD:
    case CONTROL_CMD_PLAN:
    case CONTROL_CMD_ASSIGN:
    case CONTROL_CMD_DRILL:
    case CONTROL_CMD_SEAT:
    case CONTROL_CMD_MOVE:
    case CONTROL_CMD_ETCD:
    case CONTROL_CMD_ETCD_LOOK:
    case CONTROL_CMD_COUNT:
        SK_ASSERT(false && "never waits for a commit");
    }
}

void ctl_commands_move(struct control_commands *to, const struct control_commands *from)
{
    for (size_t i = 0; i < from->count; i++) {
        command_copy(to, &from->items[i]);
    }
}

void ctl_reply_ok(struct control *c, uint64_t request, struct sk_str json)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_REPLY);
    cmd->u.reply.request = request;
    cmd->u.reply.json = ctl_arena_dup(c->out->arena, json);
}

void ctl_reply_err(struct control *c, uint64_t request, const struct sk_err *err,
                   struct sk_str json)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_REPLY);
    cmd->u.reply.request = request;
    cmd->u.reply.err = *err;
    cmd->u.reply.json = ctl_arena_dup(c->out->arena, json);
}

void ctl_reply_elsewhere(struct control *c, uint64_t request, const struct sk_err *err)
{
    struct control_command *cmd = ctl_out(c->out, CONTROL_CMD_REPLY);
    cmd->u.reply.request = request;
    cmd->u.reply.err = *err;
    cmd->u.reply.elsewhere = true;
}

char *ctl_rest(const struct sk_node *map, const char *const *known, size_t nknown)
{
    struct sk_buf out = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &out);
    sk_jw_obj(&w);
    size_t written = sk_jw_rest(&w, map, known, nknown);
    sk_jw_obj_end(&w);
    char *text = written > 0 ? sk_buf_steal(&out, NULL) : NULL;
    sk_buf_release(&out);
    return text;
}

void ctl_rest_put(struct sk_jw *w, const char *rest)
{
    const struct sk_node *map;

    if (rest == NULL) {
        return;
    }
    struct sk_arena *arena = sk_arena_new();
    if (sk_json_read(arena, "rest", sk_str(rest), NULL, &map, NULL) == 0) {
        (void)sk_jw_rest(w, map, NULL, 0);
    }
    sk_arena_free(arena);
}

int64_t ctl_i64_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t ctl_i64_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool ctl_find(const void *array, size_t count, struct sk_str name, size_t *ret_at)
{
    char *const *const *items = array; /* each struct starts with its name */
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sk_str_cmp(sk_str(*items[mid]), name);
        if (order == 0) {
            *ret_at = mid;
            return true;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret_at = low;
    return false;
}

void *ctl_insert(void *array, size_t *count, size_t *cap, size_t at, void *item)
{
    void **items = array;

    SK_GROW(items, *count, *cap);
    memmove(items + at + 1, items + at, (*count - at) * sizeof(*items));
    items[at] = item;
    (*count)++;
    return items;
}

void ctl_erase(void *array, size_t *count, size_t at)
{
    void **items = array;

    (*count)--;
    memmove(items + at, items + at + 1, (*count - at) * sizeof(*items));
}

const char *ctl_life_name(enum ctl_life life)
{
    static const char *const names[CTL_LIFE_COUNT] = {"unknown", "alive", "suspect", "lost"};
    return names[life];
}

static const char *const state_names[CONTROL_STATE_COUNT] = {
    "pending", "pulling", "starting", "running", "stopping", "exited", "failed"};

const char *control_state_name(enum control_instance_state state)
{
    return state_names[state];
}

int control_state_from_name(struct sk_str name)
{
    for (int i = 0; i < CONTROL_STATE_COUNT; i++) {
        if (sk_str_is(name, state_names[i])) {
            return i;
        }
    }
    return -1;
}
