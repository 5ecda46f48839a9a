/* SPDX-License-Identifier: Apache-2.0 */
#include "ingress_users.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingress_site.h"
#include "sys/clock.h"
#include "sys/file.h"

/* ---- runs ---- */

static unsigned tests_made, tests_skipped;

/* How long somebody has waited for a processor, in microseconds; 0 where the kernel does not
 * say. */
static double pressure_us(void)
{
    struct sk_buf text = SK_BUF_INIT;
    const char *at = sys_file_read("/proc/pressure/cpu", 4096, &text, NULL) == 0
                         ? strstr(text.ptr, "total=")
                         : NULL;
    double us = at != NULL ? strtod(at + 6, NULL) : 0;
    sk_buf_release(&text);
    return us;
}

struct stretch stretch_begin(void)
{
    return (struct stretch){.start_ms = sys_now_ms(), .waited_us = pressure_us()};
}

long stretch_end(const struct stretch *s, unsigned rate, long requests, long failed)
{
    double share = (pressure_us() - s->waited_us) / 1e3 / (double)(sys_now_ms() - s->start_ms);
    char at[32] = "one after the other";
    if (failed == 0) {
        return 0;
    }
    if (rate > 0) {
        (void)snprintf(at, sizeof(at), "at %u/s", rate);
    }
    (void)fprintf(stderr,
                  "%s run: %ld of %ld requests failed %s; in %.0f %% of the time somebody waited "
                  "for a processor\n",
                  share >= PRESSURE_MAX ? "invalid" : "failed", failed, requests, at, 100 * share);
    return share >= PRESSURE_MAX ? RUN_INVALID : failed;
}

void nothing_fails(run_fn *run)
{
    long failed = RUN_INVALID;
    tests_made++;
    for (int i = 0; i < RUN_TRIES && failed == RUN_INVALID; i++) {
        failed = run();
    }
    if (failed == RUN_INVALID) {
        tests_skipped++;
        skip(); /* neither passed nor failed */
    }
    assert_int_equal(failed, 0);
}

int program_result(int failed)
{
    if (failed != 0 || tests_skipped == 0) {
        return failed;
    }
    (void)fprintf(stderr, "skipped: %u of %u tests under load had no valid run on this machine\n",
                  tests_skipped, tests_made);
    return tests_skipped == tests_made ? 77 : 0;
}

/* ---- users ---- */

struct users start_users(const char *address, unsigned rate, double seconds, bool keep_alive)
{
    struct users u = {.rate = rate,
                      .seconds = seconds,
                      .out = "/tmp/skerry-users-XXXXXX",
                      .config = "/tmp/skerry-conf-XXXXXX"};
    const char *build = getenv("SKERRY_BUILD_ROOT");
    char program[512];
    struct sk_buf json = SK_BUF_INIT;
    (void)snprintf(program, sizeof(program), "%s/skerry-lab", build != NULL ? build : "build");
    int out = mkstemp(u.out);
    int config = mkstemp(u.config);
    assert_true(out >= 0 && config >= 0);
    sk_buf_printf(&json,
                  "{\"rate\":%u,\"seconds\":%g,\"host\":\"shop.example.com\",\"keep_alive\":%s,"
                  "\"populations\":[{\"name\":\"u\",\"ingress\":[{\"site\":\"fra\",\"address\":"
                  "\"%s\",\"port\":%u}]}]}",
                  rate, seconds, keep_alive ? "true" : "false", address, http_port);
    assert_int_equal(write(config, json.ptr, json.len), (ssize_t)json.len);
    (void)close(config);
    sk_buf_release(&json);
    u.stretch = stretch_begin();
    u.pid = fork();
    assert_true(u.pid >= 0);
    if (u.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out, 1);
        (void)execl(program, program, "load", u.config, (char *)NULL);
        _exit(127);
    }
    (void)close(out);
    return u;
}

/* The number after `"key":` in the summary. */
static long number_of(const char *summary, const char *key)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(summary, quoted);
    assert_non_null(at);
    return strtol(at + strlen(quoted), NULL, 10);
}

long end_users(struct users *u)
{
    struct sk_buf text = SK_BUF_INIT;
    int status = 0;
    while (waitpid(u->pid, &status, WNOHANG) == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(status, 0);
    assert_int_equal(sys_file_read(u->out, 1 << 20, &text, NULL), 0);
    const char *summary = strstr(text.ptr, "{\"event\":\"summary\"");
    assert_non_null(summary);
    assert_int_equal(number_of(summary, "generator_errors"), 0);
    long requests = number_of(summary, "requests");
    long failed = number_of(summary, "failed");
    assert_int_equal(requests, (long)(u->rate * u->seconds + 0.5));
    if (failed != 0) {
        (void)fprintf(stderr, "%s\n", summary);
    }
    sk_buf_release(&text);
    (void)unlink(u->out);
    (void)unlink(u->config);
    return stretch_end(&u->stretch, u->rate, requests, failed);
}
