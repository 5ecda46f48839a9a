/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/wan_matrix.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wan_matrix_init(struct wan_matrix *m, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    sk_prng_seed(&m->prng, seed);
}

/* The site of a 10.0.0.0/8 address in network order, 0 if it has none. */
static unsigned site_of(const struct wan_matrix *m, const uint8_t *address)
{
    return address[0] == 10 ? m->site_of[address[1] << 8 | address[2]] : 0;
}

enum wan_fate wan_judge(struct wan_matrix *m, const uint8_t *ip, size_t len, uint64_t now_ns,
                        uint64_t *ret_due_ns)
{
    m->packets++;
    unsigned from = len >= 20 && ip[0] >> 4 == 4 ? site_of(m, ip + 12) : 0;
    unsigned to = from != 0 ? site_of(m, ip + 16) : 0;
    if (to == 0) {
        m->unknown++;
        return WAN_UNKNOWN;
    }
    struct wan_link *link = &m->link[from][to];
    if (link->cut) {
        m->cut++;
        return WAN_CUT;
    }
    if (link->loss > 0 && sk_prng_unit(&m->prng) < link->loss) {
        m->lost++;
        return WAN_LOST;
    }
    uint64_t due = now_ns;
    if (link->bits_per_s > 0) {
        uint64_t start = link->busy_until_ns > now_ns ? link->busy_until_ns : now_ns;
        if (start - now_ns > WAN_QUEUE_NS_MAX) {
            m->full++;
            return WAN_FULL;
        }
        link->busy_until_ns = start + (uint64_t)((double)len * 8e9 / link->bits_per_s);
        due = link->busy_until_ns;
    }
    due += link->delay_ns;
    if (link->jitter_ns > 0) {
        due += (uint64_t)(sk_prng_unit(&m->prng) * (double)link->jitter_ns);
    }
    if (due < link->last_due_ns) {
        due = link->last_due_ns;
    }
    link->last_due_ns = due;
    m->passed++;
    *ret_due_ns = due;
    return WAN_PASS;
}

/* NUL-terminated copy of a short line, so that sscanf can read it. */
static int copy_line(struct sk_str line, char *out, size_t size, struct sk_err *err)
{
    if (line.len >= size || memchr(line.ptr, '\0', line.len) != NULL) {
        return sk_err_set(err, SK_ERR_INPUT, "a command of at most %zu bytes is expected",
                          size - 1);
    }
    memcpy(out, line.ptr, line.len);
    out[line.len] = '\0';
    return 0;
}

static int command_map(struct wan_matrix *m, const char *text, struct sk_err *err)
{
    unsigned b, c, site;
    char tail;
    if (sscanf(text, "map 10.%3u.%3u.0/24 %2u%c", &b, &c, &site, &tail) != 3 || b > 255 ||
        c > 255 || site >= WAN_SITES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "expected 'map 10.B.C.0/24 SITE', not '%s'", text);
    }
    m->site_of[b << 8 | c] = (uint8_t)site;
    return 0;
}

/* One of the four values of `set`; "-" leaves *ret as it is. */
static bool take_value(const char *word, double max, double *ret)
{
    char *end;
    if (strcmp(word, "-") == 0) {
        return true;
    }
    double value = strtod(word, &end);
    if (end == word || *end != '\0' || !(value >= 0) || value > max) {
        return false;
    }
    *ret = value;
    return true;
}

static int command_set(struct wan_matrix *m, const char *text, struct sk_err *err)
{
    unsigned from, to;
    char words[4][16], tail;
    int n = sscanf(text, "set %2u %2u %15s %15s %15s %15s%c", &from, &to, words[0], words[1],
                   words[2], words[3], &tail);
    bool ok = n == 6 && from < WAN_SITES_MAX && to < WAN_SITES_MAX;
    double delay = -1, jitter = -1, loss = -1, mbit = -1;
    ok = ok && take_value(words[0], WAN_DELAY_MS_MAX, &delay) &&
         take_value(words[1], WAN_DELAY_MS_MAX, &jitter) && take_value(words[2], 100, &loss) &&
         take_value(words[3], 1e6, &mbit);
    if (!ok) {
        return sk_err_set(err, SK_ERR_INPUT,
                          "expected 'set FROM TO DELAY_MS JITTER_MS LOSS_PERCENT MBIT', not '%s'",
                          text);
    }
    struct wan_link *link = &m->link[from][to];
    link->delay_ns = delay >= 0 ? (uint64_t)(delay * 1e6) : link->delay_ns;
    link->jitter_ns = jitter >= 0 ? (uint64_t)(jitter * 1e6) : link->jitter_ns;
    link->loss = loss >= 0 ? loss / 100 : link->loss;
    link->bits_per_s = mbit >= 0 ? mbit * 1e6 : link->bits_per_s;
    link->busy_until_ns = 0;
    link->last_due_ns = 0; /* a shorter delay must not wait for packets under the old one */
    return 0;
}

static int command_links(const struct wan_matrix *m, const char *text, struct sk_buf *reply,
                         struct sk_err *err)
{
    unsigned count;
    char tail;
    if (sscanf(text, "links %2u%c", &count, &tail) != 1 || count >= WAN_SITES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "expected 'links COUNT', not '%s'", text);
    }
    for (unsigned a = 1; a <= count; a++) {
        for (unsigned b = 1; b <= count; b++) {
            const struct wan_link *l = &m->link[a][b];
            if (a != b) {
                sk_buf_printf(reply, "%u %u %.6f %.6f %.6f %.6f %d\n", a, b,
                              (double)l->delay_ns / 1e6, (double)l->jitter_ns / 1e6, l->loss * 100,
                              l->bits_per_s / 1e6, l->cut);
            }
        }
    }
    return 0;
}

static int command_cut(struct wan_matrix *m, const char *text, bool cut, struct sk_err *err)
{
    unsigned from, to;
    char tail;
    int n = sscanf(text, cut ? "cut %2u %2u%c" : "heal %2u %2u%c", &from, &to, &tail);
    if (n != 2 || from >= WAN_SITES_MAX || to >= WAN_SITES_MAX) {
        return sk_err_set(err, SK_ERR_INPUT, "expected '%s FROM TO', not '%s'",
                          cut ? "cut" : "heal", text);
    }
    m->link[from][to].cut = cut;
    return 0;
}

int wan_command(struct wan_matrix *m, struct sk_str line, struct sk_buf *reply, struct sk_err *err)
{
    char text[160];
    int ret = copy_line(line, text, sizeof(text), err);
    if (ret < 0) {
        return ret;
    }
    if (strncmp(text, "map ", 4) == 0) {
        return command_map(m, text, err);
    }
    if (strncmp(text, "set ", 4) == 0) {
        return command_set(m, text, err);
    }
    if (strncmp(text, "cut ", 4) == 0) {
        return command_cut(m, text, true, err);
    }
    if (strncmp(text, "heal ", 5) == 0) {
        return command_cut(m, text, false, err);
    }
    if (strncmp(text, "links ", 6) == 0) {
        return command_links(m, text, reply, err);
    }
    if (strcmp(text, "stats") == 0) {
        sk_buf_printf(reply,
                      "{\"packets\":%" PRIu64 ",\"passed\":%" PRIu64 ",\"lost\":%" PRIu64
                      ",\"cut\":%" PRIu64 ",\"full\":%" PRIu64 ",\"unknown\":%" PRIu64 "}\n",
                      m->packets, m->passed, m->lost, m->cut, m->full, m->unknown);
        return 0;
    }
    return sk_err_set(err, SK_ERR_INPUT, "unknown command '%s'", text);
}
