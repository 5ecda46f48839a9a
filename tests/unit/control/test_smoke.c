/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake.h"

#define WEB(replicas, image)                                               \
    "{\"name\":\"shop\",\"services\":{\"web\":{\"image\":\"" image         \
    "\",\"deploy\":{\"replicas\":" replicas                                \
    ",\"resources\":{\"limits\":{\"cpus\":\"0.5\",\"memory\":\"256M\"}}}," \
    "\"x-skerry\":{\"survive\":{\"sites\":1,\"keep\":4},"                  \
    "\"route\":{\"host\":\"shop.example.com\",\"port\":8000}}}}}"

static void smoke(void **state)
{
    struct fake *f = fake_new(1);
    fake_three_sites(f, 2);
    fake_must_apply(f, WEB("6", "web:1"));
    fake_run(f, 3000);
    assert_true(fake_converged(f));
    f->trace.len = 0;
    fake_kill_site(f, "fra");
    fake_run(f, 5000);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(smoke)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
