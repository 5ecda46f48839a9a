/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_BASE_BANNED_H
#define SK_BASE_BANNED_H

/*
 * Functions that are never used here; force-included in every file, so that a use is a compile
 * error that names the cure. (After git's banned.h.) The headers that declare them come first, so
 * that their own declarations stay legal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* with clang the C library's checking forms are macros, and a macro is not to be poisoned */
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets
#pragma GCC poison system popen tmpnam tempnam mktemp
#pragma GCC poison gmtime localtime ctime asctime
#pragma GCC poison atoi atol atoll atof

#endif
