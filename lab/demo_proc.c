/* SPDX-License-Identifier: Apache-2.0 */
#include "lab/demo_proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define PROCESSES_MAX 8192
#define TEXT_MAX 16384
#define SIGNAL_PASSES 5
#define SETTLED_NS 2000000000ULL

struct process {
    pid_t pid, parent;
    ino_t netns;
    uint64_t start_ns;
    unsigned long rss_kb;
    char name[24];
    int node; /* -1 = none of ours */
};

/* Reads a small file of /proc; the bytes end in an extra NUL. Returns the length, 0 on failure:
 * processes come and go. */
static size_t slurp(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    size_t len = 0;
    ssize_t n;
    while (len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    (void)close(fd);
    out[len] = '\0';
    return len;
}

/* pid, parent, start and memory from /proc/PID/stat; false if it is gone, or a zombie. */
static bool read_stat(pid_t pid, struct process *p)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (slurp(path, text, sizeof(text)) == 0) {
        return false;
    }
    char *open_paren = strchr(text, '(');
    char *close_paren = strrchr(text, ')');
    char state;
    int parent;
    unsigned long long start;
    long pages;
    if (open_paren == NULL || close_paren == NULL ||
        sscanf(close_paren + 1,
               " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu "
               "%*u %ld",
               &state, &parent, &start, &pages) != 4 ||
        state == 'Z') {
        return false;
    }
    *close_paren = '\0';
    p->pid = pid;
    p->parent = parent;
    p->start_ns = start * (1000000000ULL / (unsigned long long)sysconf(_SC_CLK_TCK));
    p->rss_kb =
        pages > 0 ? (unsigned long)pages * (unsigned long)(sysconf(_SC_PAGESIZE) / 1024) : 0;
    (void)snprintf(p->name, sizeof(p->name), "%s", open_paren + 1);
    p->node = -1;
    return true;
}

/* The node whose data folder stands in the command line. */
static int node_of_command(const struct demo_world *w, pid_t pid, char *text)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    size_t len = slurp(path, text, TEXT_MAX);
    for (size_t i = 0; len > 0 && i < w->nnodes; i++) {
        size_t data_len = strlen(w->nodes[i].data);
        const char *at = text;
        size_t left = len;
        while ((at = memmem(at, left, w->nodes[i].data, data_len)) != NULL) {
            char after = at[data_len];
            if (after == '\0' || after == '/') {
                return (int)i;
            }
            at++;
            left = len - (size_t)(at - text);
        }
    }
    return -1;
}

static int node_of_netns(const ino_t *netns, size_t count, ino_t mine)
{
    for (size_t i = 0; i < count; i++) {
        if (mine != 0 && netns[i] == mine) {
            return (int)i;
        }
    }
    return -1;
}

/* What the parent belongs to, its child does too. */
static void inherit(struct process *list, size_t count)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; list[i].node < 0 && k < count; k++) {
                if (list[k].pid == list[i].parent && list[k].node >= 0) {
                    list[i].node = list[k].node;
                    changed = true;
                }
            }
        }
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

struct finder {
    const struct demo_world *world;
    ino_t netns[DEMO_NODES_MAX];
    uint64_t now_ns;
    struct demo_known *known; /* NULL: nothing is remembered */
    unsigned look;
    char *text; /* TEXT_MAX */
};

static struct demo_known *known_of(const struct finder *f, pid_t pid)
{
    return f->known != NULL ? &f->known[(unsigned)pid % DEMO_KNOWN] : NULL;
}

/* Reads one process; false if it is gone, or known to be none of ours. */
static bool read_process(struct finder *f, pid_t pid, struct process *p)
{
    struct demo_known *known = known_of(f, pid);
    char path[64];
    struct stat st;
    bool remembered = known != NULL && known->pid == pid && known->look + 1 == f->look;
    if (remembered) {
        known->look = f->look;
    }
    if (remembered && known->node < 0) {
        return false;
    }
    if (pid == getpid() || !read_stat(pid, p)) {
        return false;
    }
    if (remembered) {
        p->node = known->node;
        p->netns = known->netns;
        return true;
    }
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    p->netns = stat(path, &st) == 0 ? st.st_ino : 0;
    p->node = node_of_netns(f->netns, f->world->nnodes, p->netns);
    if (p->node < 0) {
        p->node = node_of_command(f->world, pid, f->text);
    }
    /* the users and the delay router are the lab's, not a node's */
    if (strcmp(p->name, "skerry-lab") == 0) {
        p->node = -1;
    }
    return true;
}

static size_t read_processes(const struct demo_world *w, struct process *list,
                             struct demo_scan *scan)
{
    struct demo_known *known = scan != NULL ? scan->known : NULL;
    size_t count = 0;
    sk_autofree char *text = sk_xmalloc(TEXT_MAX);
    struct finder f = {.world = w,
                       .now_ns = now_ns(),
                       .known = known,
                       .text = text,
                       .look = scan != NULL ? ++scan->look : 0};
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    for (size_t i = 0; i < w->nnodes; i++) {
        struct stat st;
        if (w->nodes[i].netns[0] != '\0' && stat(w->nodes[i].netns, &st) == 0) {
            f.netns[i] = st.st_ino;
        }
    }
    while (proc != NULL && count < PROCESSES_MAX && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (isdigit((unsigned char)entry->d_name[0]) && read_process(&f, pid, &list[count])) {
            count++;
        }
    }
    if (proc != NULL) {
        (void)closedir(proc);
    }
    inherit(list, count);
    for (size_t i = 0; known != NULL && i < count; i++) {
        if (list[i].start_ns + SETTLED_NS < f.now_ns) {
            *known_of(&f, list[i].pid) =
                (struct demo_known){list[i].pid, f.look, list[i].node, list[i].netns};
        }
    }
    return count;
}

/* The value of NAME in an environment block, or NULL. */
static const char *env_value(const char *block, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    for (size_t at = 0; at < len; at += strlen(block + at) + 1) {
        if (strncmp(block + at, name, name_len) == 0 && block[at + name_len] == '=') {
            return block + at + name_len + 1;
        }
    }
    return NULL;
}

static bool copy(char *out, size_t size, const char *value)
{
    if (value == NULL || strlen(value) >= size) {
        return false;
    }
    memcpy(out, value, strlen(value) + 1);
    return true;
}

/* The container's address stands in its shim's command line: --address=10.210.3.2/24. */
static void find_host(struct demo_instance *in, const char *text)
{
    const char *at = strstr(text, "--address=");
    if (at != NULL) {
        size_t len = strcspn(at + 10, "/");
        if (len > 0 && len < sizeof(in->host)) {
            memcpy(in->host, at + 10, len);
            in->host[len] = '\0';
        }
    }
}

static void take_instance(struct demo_scan *scan, const struct process *list, size_t count,
                          const struct process *p, char *text)
{
    char path[64];
    struct demo_instance in = {0};
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)p->pid);
    size_t len = slurp(path, text, TEXT_MAX);
    const char *port = env_value(text, len, "PORT");
    const char *host = env_value(text, len, "HOST");
    if (!copy(in.id, sizeof(in.id), env_value(text, len, "SKERRY_INSTANCE")) ||
        !copy(in.service, sizeof(in.service), env_value(text, len, "SKERRY_SERVICE")) ||
        !copy(in.node, sizeof(in.node), env_value(text, len, "SKERRY_NODE")) ||
        !copy(in.site, sizeof(in.site), env_value(text, len, "SKERRY_SITE"))) {
        return;
    }
    in.port = port != NULL ? (uint16_t)strtoul(port, NULL, 10) : 0;
    if (host != NULL && strcmp(host, "0.0.0.0") != 0) {
        (void)copy(in.host, sizeof(in.host), host);
    }
    in.start_ns = p->start_ns;
    for (size_t i = 0; i < scan->ninstances; i++) {
        if (strcmp(scan->instances[i].id, in.id) == 0) {
            if (in.start_ns < scan->instances[i].start_ns) {
                scan->instances[i].start_ns = in.start_ns;
            }
            return;
        }
    }
    if (in.host[0] == '\0') {
        for (size_t i = 0; i < count; i++) {
            if (list[i].pid == p->parent) {
                (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)list[i].pid);
                size_t n = slurp(path, text, TEXT_MAX);
                for (size_t k = 0; k < n; k++) {
                    text[k] = text[k] == '\0' ? ' ' : text[k];
                }
                find_host(&in, text);
            }
        }
    }
    if (scan->ninstances < DEMO_INSTANCES_MAX) {
        scan->instances[scan->ninstances++] = in;
    }
}

void demo_scan(const struct demo_world *w, struct demo_scan *scan)
{
    sk_autofree struct process *list = sk_xcalloc(PROCESSES_MAX, sizeof(*list));
    sk_autofree char *text = sk_xmalloc(TEXT_MAX);
    size_t count = read_processes(w, list, scan);
    scan->ninstances = 0;
    scan->nmembers = 0;
    for (size_t i = 0; i < count; i++) {
        if (list[i].node < 0) {
            continue;
        }
        if (scan->nmembers < DEMO_MEMBERS_MAX) {
            struct demo_member *m = &scan->members[scan->nmembers++];
            m->pid = list[i].pid;
            m->node = (size_t)list[i].node;
            m->rss_kb = list[i].rss_kb;
            memcpy(m->name, list[i].name, sizeof(m->name));
        }
        bool engine = strcmp(list[i].name, "skerry") == 0 ||
                      strncmp(list[i].name, "skerry-", 7) == 0 ||
                      strcmp(list[i].name, "skerryd") == 0 || strcmp(list[i].name, "crun") == 0;
        if (!engine) {
            take_instance(scan, list, count, &list[i], text);
        }
    }
}

static size_t signal_once(const struct demo_world *w, const char *site, int sig)
{
    sk_autofree struct process *list = sk_xcalloc(PROCESSES_MAX, sizeof(*list));
    size_t count = read_processes(w, list, NULL);
    size_t sent = 0;
    for (size_t i = 0; i < count; i++) {
        bool ours =
            list[i].node >= 0 && (site == NULL || strcmp(w->nodes[list[i].node].site, site) == 0);
        if (ours && kill(list[i].pid, sig) == 0) {
            sent++;
        }
    }
    return sent;
}

static size_t signal_passes(const struct demo_world *w, const char *site, int sig)
{
    size_t total = 0;
    for (int pass = 0; pass < SIGNAL_PASSES; pass++) {
        size_t sent = signal_once(w, site, sig);
        total += pass == 0 || sig == SIGKILL ? sent : 0;
        /* stopped processes stay in the list: two looks are enough for them */
        if (sent == 0 || (sig != SIGKILL && pass == 1)) {
            break;
        }
    }
    return total;
}

size_t demo_signal(const struct demo_world *w, const char *site, int sig)
{
    return signal_passes(w, site, sig);
}

size_t demo_signal_all(const struct demo_world *w, int sig)
{
    return signal_passes(w, NULL, sig);
}
