/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return -1;
    }
    n = write(fd, text, strlen(text));
    (void)close(fd);
    return n < 0 ? -1 : 0;
}

static int enter_cgroups(const struct shim_config *config, struct shim_reason *reason)
{
    for (size_t i = 0; i < config->ncgroups; i++) {
        char path[4096];
        int n = snprintf(path, sizeof(path), "%s/cgroup.procs", config->cgroups[i]);
        if (n < 0 || n >= (int)sizeof(path) || write_text(path, "0") < 0) {
            return shim_fail_errno(reason, "enter cgroup '%s'", config->cgroups[i]);
        }
    }
    return 0;
}

static int become_user(const struct shim_config *config, struct shim_reason *reason)
{
    bool same = geteuid() != 0 && config->uid == geteuid() && config->gid == getegid();

    if (!config->has_user || same) {
        return 0;
    }
    if (setgroups(config->ngroups, config->groups) < 0 ||
        setresgid(config->gid, config->gid, config->gid) < 0 ||
        setresuid(config->uid, config->uid, config->uid) < 0) {
        return shim_fail_errno(reason, "become user %ld", (long)config->uid);
    }
    return 0;
}

/* In the child. Only returns when something failed. */
static int become_workload(const struct shim_config *config, pid_t shim, int out, int err,
                           struct shim_reason *reason)
{
    sigset_t none;
    bool direct = !config->runtime_pid;

    (void)setsid();
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) {
        return shim_fail_errno(reason, "set up the output");
    }
    (void)write_text("/proc/self/oom_score_adj",
                     "0"); /* only root lowered it, only root can raise */
    if (direct) {
        if (enter_cgroups(config, reason) < 0 || become_user(config, reason) < 0) {
            return -1;
        }
        if (config->cwd && chdir(config->cwd) < 0) {
            return shim_fail_errno(reason, "change to folder '%s'", config->cwd);
        }
        /* After the change of user, which clears it: a workload must not outlive who reaps it. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != shim) {
            return shim_fail(reason, "the shim died");
        }
    }
    (void)execvp(config->argv[0], config->argv);
    return shim_fail_errno(reason, "start program '%s'", config->argv[0]);
}

static int open_pipes(int out[2], int err[2], int failed[2], struct shim_reason *reason)
{
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(failed, O_CLOEXEC) < 0) {
        return shim_fail_errno(reason, "make pipes");
    }
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(err[0], F_SETFL, O_NONBLOCK);
    return 0;
}

int shim_child_start(const struct shim_config *config, struct shim_child *ret,
                     struct shim_reason *reason)
{
    int out[2], err[2], failed[2];
    pid_t shim = getpid(), pid;
    ssize_t n;

    if (open_pipes(out, err, failed, reason) < 0) {
        return -1; /* the shim ends now: the kernel closes what was opened */
    }
    pid = fork();
    if (pid < 0) {
        return shim_fail_errno(reason, "fork");
    }
    if (pid == 0) {
        struct shim_reason why;
        (void)become_workload(config, shim, out[1], err[1], &why);
        (void)!write(failed[1], why.text, strlen(why.text));
        _exit(127);
    }
    (void)close(out[1]);
    (void)close(err[1]);
    (void)close(failed[1]);
    do {
        n = read(failed[0], reason->text, sizeof(reason->text) - 1);
    } while (n < 0 && errno == EINTR);
    (void)close(failed[0]);
    if (n > 0) {
        reason->text[n] = '\0';
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    *ret = (struct shim_child){pid, out[0], err[0]};
    return 0;
}

size_t shim_kill_children(void)
{
    char path[64], text[4096];
    size_t killed = 0;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (char *at = text, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at || *end != ' ') {
            break; /* the last number may be cut off: it comes again in the next round */
        }
        (void)kill((pid_t)pid, SIGKILL);
        killed++;
        end++;
    }
    return killed;
}

static void kill_listed(const char *dir)
{
    char path[4096], line[32];
    FILE *list;

    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    list = fopen(path, "re");
    while (list && fgets(line, sizeof(line), list)) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1 && pid != (long)getpid()) {
            (void)kill((pid_t)pid, SIGKILL);
        }
    }
    if (list) {
        (void)fclose(list);
    }
}

void shim_kill_cgroups(const struct shim_config *config)
{
    for (size_t i = 0; i < config->ncgroups; i++) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/cgroup.kill", config->cgroups[i]);
        if (write_text(path, "1") < 0) { /* version 1, or an older kernel */
            kill_listed(config->cgroups[i]);
        }
    }
}

bool shim_oom_happened(const char *path)
{
    char text[2048];
    const char *at;
    ssize_t n;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0) {
        return false;
    }
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, "oom_kill ", 9) == 0) {
            return at[9] != '0';
        }
    }
    return false;
}
