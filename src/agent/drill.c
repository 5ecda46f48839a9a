/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/internal.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "sys/clock.h"
#include "sys/file.h"

/*
 * The hard cut of a drill (docs/drill.md): everything to and from the servers of other sites, and
 * their containers, is dropped for a time.
 *
 * Who is cut off is not taken from the frame but from the peers of our own assignment. Each address
 * is an element of an nftables set with a time-out of its own: the kernel gives the site back when
 * the time is over, whatever is left of us by then. The empty table is removed afterwards, by a
 * timer or by the next agent (drill.json says when).
 */
#define DRILL_MS_MAX (15 * 60 * 1000)
#define DRILL_TABLE "inet skerry_drill"
#define DRILL_FILE "drill.json"
#define NFT_TIMEOUT_MS 5000
#define REMOVE_AFTER_MS 500

enum drill_op { OP_CHECK, OP_CUT, OP_END, OPS };
static const char *const op_names[OPS] = {"check", "cut", "end"};

struct drill_run { /* an nft under way */
    struct agent *agent;
    int64_t number, until_ms;
    enum drill_op op;
    bool tell; /* somebody waits for the answer */
};

static void answer(struct agent *agent, int64_t number, enum drill_op op, const char *why)
{
    struct sk_buf json = SK_BUF_INIT;
    struct sk_jw w;

    sk_jw_init(&w, &json);
    sk_jw_obj(&w);
    sk_jw_kint(&w, "v", 1);
    sk_jw_kcstr(&w, "type", "drilled");
    sk_jw_kint(&w, "number", number);
    sk_jw_kcstr(&w, "op", op_names[op]);
    sk_jw_kbool(&w, "can", why[0] == '\0');
    sk_jw_kcstr(&w, "why", why);
    sk_jw_obj_end(&w);
    peers_send_all(agent, &json);
    sk_buf_release(&json);
}

/* ---- whom ---- */

static int family_of(struct sk_str address)
{
    char text[64];
    struct in6_addr in;

    (void)snprintf(text, sizeof(text), "%.*s", SK_PRI(address));
    return inet_pton(AF_INET, text, &in) == 1    ? AF_INET
           : inet_pton(AF_INET6, text, &in) == 1 ? AF_INET6
                                                 : AF_UNSPEC;
}

static bool is_prefix(struct sk_str text)
{
    struct sk_str address, bits;
    int64_t n;

    return sk_str_cut(text, '/', &address, &bits) && family_of(address) == AF_INET &&
           sk_parse_int(bits, 8, 32, &n, NULL) == 0;
}

/* The elements of one set; 0 if there are none. Duplicates are left out: nft refuses them. */
static size_t write_elements(const struct agent *agent, const char *set, int family, int64_t ms,
                             struct sk_buf *out)
{
    const struct assign_set *a = agent->assigned;
    size_t count = 0;

    for (size_t i = 0; i < a->npeers; i++) {
        const struct assign_peer *p = &a->peers[i];
        struct sk_str value = family != 0 ? p->address : p->prefix;
        bool fits = family != 0 ? family_of(value) == family : is_prefix(value);
        for (size_t k = 0; k < i && fits; k++) {
            const struct assign_peer *q = &a->peers[k];
            fits = sk_str_is(q->site, agent->site) ||
                   !sk_str_eq(value, family != 0 ? q->address : q->prefix);
        }
        if (!fits || sk_str_is(p->site, agent->site)) {
            continue;
        }
        if (count++ == 0) {
            sk_buf_printf(out, "add element " DRILL_TABLE " %s { ", set);
        } else {
            sk_buf_adds(out, ", ");
        }
        sk_buf_printf(out, "%.*s timeout %" PRId64 "ms", SK_PRI(value), ms);
    }
    sk_buf_adds(out, count ? " }\n" : "");
    return count;
}

static void write_chain(const char *name, const char *hook, bool from, bool to, struct sk_buf *out)
{
    static const char *const sets[][2] = {{"ip", "hosts4"}, {"ip6", "hosts6"}, {"ip", "nets4"}};

    sk_buf_printf(out, " chain %s {\n  type filter hook %s priority -200; policy accept;\n", name,
                  hook);
    for (size_t i = 0; i < 3; i++) {
        if (from) {
            sk_buf_printf(out, "  %s saddr @%s drop\n", sets[i][0], sets[i][1]);
        }
        if (to) {
            sk_buf_printf(out, "  %s daddr @%s drop\n", sets[i][0], sets[i][1]);
        }
    }
    sk_buf_adds(out, " }\n");
}

static size_t write_script(const struct agent *agent, int64_t ms, struct sk_buf *out)
{
    sk_buf_adds(out, "add table " DRILL_TABLE "\ndelete table " DRILL_TABLE "\n"
                     "table " DRILL_TABLE " {\n"
                     " set hosts4 {\n  type ipv4_addr\n  flags timeout\n }\n"
                     " set hosts6 {\n  type ipv6_addr\n  flags timeout\n }\n"
                     " set nets4 {\n  type ipv4_addr\n  flags interval, timeout\n }\n");
    write_chain("inward", "input", true, false, out);
    write_chain("outward", "output", false, true, out);
    write_chain("across", "forward", true, true, out);
    sk_buf_adds(out, "}\n");
    return write_elements(agent, "hosts4", AF_INET, ms, out) +
           write_elements(agent, "hosts6", AF_INET6, ms, out) +
           write_elements(agent, "nets4", 0, ms, out);
}

static bool on_loopback(const struct agent *agent)
{
    for (size_t i = 0; i < agent->assigned->npeers; i++) {
        const struct assign_peer *p = &agent->assigned->peers[i];
        if (sk_str_is(p->node, agent->node)) {
            return sk_str_starts(p->address, SK_STR("127.")) || sk_str_is(p->address, "::1");
        }
    }
    return false;
}

/* ---- how ---- */

static void file_path(const struct agent *agent, char out[AGENT_PATH_MAX + 32])
{
    (void)snprintf(out, AGENT_PATH_MAX + 32, "%s/" DRILL_FILE, agent->dir);
}

static void run_nft(struct agent *agent, int64_t number, enum drill_op op, int64_t until_ms,
                    struct sk_str script, bool tell);

static void on_removal(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    run_nft(agent, agent->drill_number, OP_END, 0, SK_STR("delete table " DRILL_TABLE "\n"), false);
}

static void remove_at(struct agent *agent, int64_t until_wall_ms)
{
    int64_t wait = until_wall_ms - sys_wall_ms();

    wait = wait < 0 ? 0 : wait > DRILL_MS_MAX ? DRILL_MS_MAX : wait;
    (void)uv_timer_start(&agent->drill_timer, on_removal, (uint64_t)(wait + REMOVE_AFTER_MS), 0);
}

static void keep(struct agent *agent, int64_t number, int64_t until_wall_ms)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_buf text = SK_BUF_INIT;
    struct sk_err err = {0};

    file_path(agent, path);
    sk_buf_printf(&text, "{\"v\":1,\"number\":%" PRId64 ",\"until_ms\":%" PRId64 "}\n", number,
                  until_wall_ms);
    if (run_write_file(path, sk_buf_str(&text), 0600, &err) < 0) {
        sk_log_err(SK_LOG_WARN, "drill not kept: its empty table may stay", &err);
    }
    sk_buf_release(&text);
}

static void on_nft(void *ctx, const struct sk_proc_result *result)
{
    struct drill_run *run = ctx;
    struct agent *agent = run->agent;
    char path[AGENT_PATH_MAX + 32];
    bool good = result->err.code == 0;

    agent->drill_proc = NULL;
    if (run->op == OP_CUT && good) {
        agent->drill_number = run->number;
        keep(agent, run->number, run->until_ms);
        remove_at(agent, run->until_ms);
        sk_log(SK_LOG_WARN, "links to other sites are cut for a drill",
               "number=%" PRId64 " ms=%" PRId64, run->number, run->until_ms - sys_wall_ms());
    } else if (run->op == OP_END) { /* a table that is gone already is as good */
        (void)uv_timer_stop(&agent->drill_timer);
        file_path(agent, path);
        (void)sys_file_remove(path, NULL);
        good = true;
        sk_log(SK_LOG_INFO, "links to other sites are open again", "number=%" PRId64, run->number);
    }
    if (run->tell && !result->cancelled) {
        answer(agent, run->number, run->op, good ? "" : result->err.msg);
    }
    free(run);
}

static void run_nft(struct agent *agent, int64_t number, enum drill_op op, int64_t until_ms,
                    struct sk_str script, bool tell)
{
    static const char *const argv[] = {"nft", "-f", "-", NULL};
    static const char *const check_argv[] = {"nft", "-c", "-f", "-", NULL};
    struct sk_proc_spec spec = {.argv = op == OP_CHECK ? check_argv : argv,
                                .input = script,
                                .timeout_ms = NFT_TIMEOUT_MS,
                                .out_max = 1024};
    struct drill_run *run;
    struct sk_err err = {0};

    if (agent->drill_proc) {
        return; /* control asks again */
    }
    run = sk_xcalloc(1, sizeof(*run));
    *run = (struct drill_run){agent, number, until_ms, op, tell};
    if (sk_proc_start(&agent->loop, &spec, on_nft, run, &agent->drill_proc, &err) < 0) {
        if (tell) {
            answer(agent, number, op, err.msg);
        }
        free(run);
    }
}

/* ---- frames ---- */

static void cut(struct agent *agent, int64_t number, enum drill_op op, int64_t ms)
{
    struct sk_buf script = SK_BUF_INIT;
    const char *why = "";

    if (op == OP_CUT && number == agent->drill_number &&
        uv_is_active((uv_handle_t *)&agent->drill_timer)) {
        answer(agent, number, op, ""); /* it is cut */
        return;
    }
    if (!agent->root) {
        why = "its agent does not run as root";
    } else if (!agent->assigned || agent->node[0] == '\0') {
        why = "it was not assigned anything yet";
    } else if (on_loopback(agent)) {
        why = "it shares a machine with others, on loopback";
    } else if (write_script(agent, ms, &script) == 0) {
        why = "it knows no server of another site";
    }
    if (why[0]) {
        answer(agent, number, op, why);
    } else {
        run_nft(agent, number, op, sys_wall_ms() + ms, sk_buf_str(&script), true);
    }
    sk_buf_release(&script);
}

int frame_take_drill(struct agent *agent, const struct sk_node *tree, struct sk_err *err)
{
    int64_t number = sk_map_int(tree, "number", 0);
    int64_t ms = sk_map_int(tree, "ms", -1);
    struct sk_str name = sk_map_str(tree, "op", SK_STR(""));
    int op = 0;

    while (op < OPS && !sk_str_is(name, op_names[op])) {
        op++;
    }
    if (number <= 0 || op == OPS || ms < (op == OP_END ? 0 : 1) || ms > DRILL_MS_MAX) {
        return sk_err_set(err, SK_ERR_PROTOCOL,
                          "a drill needs a number, an op that is known and 1 to %d ms",
                          DRILL_MS_MAX);
    }
    if (!frame_term_counts(agent, tree)) {
        return 0;
    }
    if (op == OP_END) {
        run_nft(agent, number, OP_END, 0, SK_STR("delete table " DRILL_TABLE "\n"), true);
    } else {
        cut(agent, number, (enum drill_op)op, ms);
    }
    return 0;
}

/* ---- life ---- */

void drill_begin(struct agent *agent)
{
    char path[AGENT_PATH_MAX + 32];
    struct sk_arena *arena = sk_arena_new();
    struct sk_buf text = SK_BUF_INIT;
    const struct sk_node *root;

    (void)uv_timer_init(&agent->loop, &agent->drill_timer);
    agent->drill_timer.data = agent;
    file_path(agent, path);
    if (agent->root && sys_file_read(path, 4096, &text, NULL) == 0 &&
        sk_json_read(arena, DRILL_FILE, sk_buf_str(&text), NULL, &root, NULL) == 0 &&
        root->kind == SK_MAP) {
        agent->drill_number = sk_map_int(root, "number", 0);
        remove_at(agent, sk_map_int(root, "until_ms", 0));
    }
    sk_buf_release(&text);
    sk_arena_free(arena);
}
