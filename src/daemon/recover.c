/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/recover.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/mem.h"
#include "daemon/folders.h"
#include "daemon/vault.h"
#include "net/channel.h"

#define VISIT_MS 15000

int daemon_recover(const char *dir, const struct seal_code *code, struct daemon_config *ret,
                   struct sk_err *err)
{
    struct vault *vault = NULL;
    struct folders f;
    int r = daemon_config_load(dir, ret, err);

    folders_name(dir, &f);
    if (r == 0 && !ret->is_control) {
        r = sk_err_set(err, SK_ERR_INPUT, "server '%s' is no control node", ret->node);
    }
    r = r < 0 ? r : vault_recover(f.control, ret->cluster, code, &vault, err);
    r = r < 0 ? r : vault_join(vault, err);
    vault_free(vault);
    return r < 0 ? r : folders_give(ret, &f, true, err);
}

/* ---- control at another address ---- */

struct visit {
    struct net_client *client;
    uv_timer_t timer;
    bool up, over;
    struct sk_err why; /* the last refusal */
};

static void end_visit(struct visit *visit)
{
    if (!visit->over) {
        visit->over = true;
        net_client_free(visit->client);
        visit->client = NULL;
        uv_close((uv_handle_t *)&visit->timer, NULL);
    }
}

/* A control node of this cluster by its certificate, or it would not have come up. */
static void on_up(void *ctx, struct net_peer *peer)
{
    struct visit *visit = ctx;

    (void)peer;
    visit->up = true;
    end_visit(visit);
}

static void on_frame(void *ctx, struct net_peer *peer, const struct net_frame *frame)
{
    (void)ctx;
    (void)peer;
    (void)frame;
}

static void on_down(void *ctx, struct net_peer *peer, const struct sk_err *why)
{
    (void)ctx;
    (void)peer;
    (void)why;
}

static void on_refused(void *ctx, const char *address, const struct sk_err *why)
{
    (void)address;
    ((struct visit *)ctx)->why = *why;
}

static void on_late(uv_timer_t *timer)
{
    end_visit(timer->data);
}

static int visit_control(const struct daemon_config *config, const struct net_identity *identity,
                         const char *boot, const char *control, struct sk_err *err)
{
    struct visit visit = {0};
    struct net_callbacks callbacks = {&visit, on_up, on_frame, NULL, NULL, on_down, on_refused};
    struct net_channel_cfg cfg = {
        .identity = identity,
        .incarnation = config->incarnation,
        .boot = boot,
        .version = SKERRY_VERSION,
        .source = strcmp(config->listen, "0.0.0.0") == 0 ? NULL : config->listen,
    };
    uv_loop_t loop;
    int r;

    (void)signal(SIGPIPE, SIG_IGN);
    SK_ASSERT(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &visit.timer) == 0);
    visit.timer.data = &visit;
    r = net_client_new(&loop, &cfg, &callbacks, &visit.client, err);
    r = r < 0 ? r : net_client_set_addresses(visit.client, &control, 1, err);
    if (r == 0) {
        (void)uv_timer_start(&visit.timer, on_late, VISIT_MS, 0);
    } else {
        end_visit(&visit);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    SK_ASSERT(uv_loop_close(&loop) == 0);
    if (r < 0 || visit.up) {
        return r;
    }
    if (visit.why.code) {
        *err = visit.why;
        return sk_err_wrap(err, "'%s'", control);
    }
    return sk_err_set(err, SK_ERR_TIMEOUT, "'%s' does not answer", control);
}

int daemon_rejoin(const char *dir, const char *control, struct daemon_config *ret,
                  struct sk_err *err)
{
    struct net_identity identity = {0};
    struct daemon_facts facts;
    struct folders f;
    int r = daemon_config_load(dir, ret, err);

    folders_name(dir, &f);
    if (r == 0 && ret->is_control) {
        r = sk_err_set(err, SK_ERR_INPUT, "server '%s' is a control node itself", ret->node);
    }
    if (r == 0 && strlen(control) >= sizeof(ret->controls[0])) {
        r = sk_err_set(err, SK_ERR_USAGE, "the address '%.80s...' is too long", control);
    }
    r = r < 0 ? r : net_identity_load(f.identity, &identity, err);
    r = r < 0 ? r : daemon_facts_detect(dir, &facts, err);
    r = r < 0 ? r : visit_control(ret, &identity, facts.boot, control, err);
    net_identity_release(&identity);
    if (r < 0) {
        return r;
    }
    memset(ret->controls, 0, sizeof(ret->controls));
    (void)snprintf(ret->controls[0], sizeof(ret->controls[0]), "%s", control);
    ret->ncontrols = 1;
    return daemon_config_save(ret, err);
}
