/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

void cli_write(struct sk_str text)
{
    while (text.len) {
        ssize_t n = write(STDOUT_FILENO, text.ptr, text.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return; /* the reader has gone; nothing is left to tell it */
        }
        text.ptr += n;
        text.len -= (size_t)n;
    }
}

void cli_print_error(const struct cli *cli, const struct sk_err *err)
{
    if (cli->json) {
        struct sk_buf buf = SK_BUF_INIT;
        struct sk_jw w;
        sk_jw_init(&w, &buf);
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "format", "skerry.error/1");
        sk_jw_key(&w, "error");
        sk_jw_obj(&w);
        sk_jw_kcstr(&w, "code", sk_code_name(err->code));
        sk_jw_kcstr(&w, "text", err->msg);
        sk_jw_kcstr(&w, "fix", err->fix);
        sk_jw_obj_end(&w);
        sk_jw_obj_end(&w);
        sk_buf_addc(&buf, '\n');
        cli_write(sk_buf_str(&buf));
        sk_buf_release(&buf);
    }
    (void)fprintf(stderr, "skerry: %s\n", err->msg);
    if (err->fix[0]) {
        (void)fprintf(stderr, "  fix: %s\n", err->fix);
    }
}

static bool wants_color(void)
{
    const char *term = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");

    return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

/* The parser failed before it could know: an error is printed as JSON too when --json stands
 * anywhere. */
static bool asked_for_json(int argc, char *const *argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {0};
    struct sk_err err = {0};
    int r;

    cli.color = wants_color();
    cli.json = asked_for_json(argc, argv);
    r = cli_parse(&cli, argc, argv, &err);
    if (r == 0 && cli.command->run && cli_flag(&cli, "help")) {
        struct sk_buf buf = SK_BUF_INIT;
        cli_help(cli.command, &buf);
        cli_write(sk_buf_str(&buf));
        sk_buf_release(&buf);
        return 0;
    }
    if (r == 0) {
        r = cli.command->run(&cli, &err);
    }
    if (r < 0) {
        cli_print_error(&cli, &err);
        return sk_code_exit(err.code);
    }
    return cli.exit_status;
}

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
