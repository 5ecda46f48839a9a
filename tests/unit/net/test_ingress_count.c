/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/ingress_count.h"

#define HEAD "# pxname,svname,stot,hrsp_5xx,req_tot,econ,mode,\n"

static void counts(void **state)
{
    struct ingress_counts c = {0};
    struct sk_err err = {0};
    int pid = 0;

    (void)state;
    assert_int_equal(ingress_counts_read(SK_STR("Name: HAProxy\nPid: 4711\n\n" HEAD
                                                "fe.http,FRONTEND,90,3,100,,http,\n"
                                                "fe.checks,FRONTEND,5000,7,5000,,http,\n"
                                                "fe.sites,FRONTEND,50,,,,tcp,\n"
                                                "fe.p5432,FRONTEND,20,,,,tcp,\n"
                                                "be.shop.web,BACKEND,95,3,95,9,http,\n"
                                                "be.shop.db,BACKEND,20,,,2,tcp,\n"
                                                "in.shop.db,BACKEND,8,,,8,tcp,\n\n"),
                                         &pid, &c, &err),
                     0);
    assert_int_equal(pid, 4711);
    assert_int_equal(c.requests, 120);
    assert_int_equal(c.errors, 5); /* another site's and the checks' are theirs */
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "",
        "Pid: 1\n",
        HEAD "fe.http,FRONTEND,1,1,1,,http,\n",
        "Pid: x\n" HEAD,
        "Pid: 1\n# pxname,svname,stot\nfe.http,FRONTEND,1\n",
    };
    struct ingress_counts c = {0};
    struct sk_err err = {0};
    int pid = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ingress_counts_read(sk_str(bad[i]), &pid, &c, &err), SK_ERR_ENGINE);
    }
    /* cut short, or with numbers that are none: what is there counts, nothing else happens */
    assert_int_equal(ingress_counts_read(SK_STR("Pid: 9\n" HEAD "fe.http,FRONTEND,,x,-3,,http\nfe"),
                                         &pid, &c, &err),
                     0);
    assert_int_equal(c.requests + c.errors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
