/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAB_VERBS_H
#define LAB_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "lab/net.h"

/* The commands of skerry-lab on a lab that runs: see the usage in main.c. Part of the program, not
 * of the library: they print. */
struct lab_words {
    const char *const *word; /* what follows the command, NULL-terminated */
    size_t count;
    bool one_way, json;
    const char *skerry; /* path of the program that hosts run */
};

/* SK_ERR_USAGE for a command that is none, or lacks a word. */
int lab_verb(const struct lab_net *net, const char *command, const struct lab_words *words,
             struct sk_err *err);
bool lab_verb_exists(const char *command);

#endif
