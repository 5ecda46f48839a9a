/* SPDX-License-Identifier: Apache-2.0 */
/* The ingress with a real HAProxy on loopback: what is routed where. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ingress_site.h"

static void routes_by_host_and_says_who(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "SHOP.example.com:81", text, sizeof(text)), 200);
    assert_non_null(strstr(text, "instance=a\n"));
    assert_non_null(strstr(text, "x-skerry-ingress: fra"));
    assert_int_equal(ask("127.0.0.1", http_port, "other.example.com", text, sizeof(text)), 404);
    set_local(&fra, list, 0);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "shop.example.com", text, sizeof(text)), 503);
    assert_int_equal(ingress_status(fra.ing).reloads, 0);
    close_site(&fra);
    kill_replica(&a);
}

static void published_ports_are_tcp(void **state)
{
    static struct site fra;
    struct replica a = start_replica("a");
    const struct replica *const list[] = {&a};
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    fra.services[0].host = SK_STR("");
    fra.services[0].check = SK_STR("");
    fra.services[0].port = free_port();
    set_local(&fra, list, 1);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", fra.services[0].port, "any", text, sizeof(text)), 200);
    assert_non_null(strstr(text, "instance=a\n"));
    close_site(&fra);
    kill_replica(&a);
}

static void many_services_fit(void **state)
{
    static struct site fra;
    static struct ingress_service many[400];
    static char names[400][32], hosts[400][40];
    char text[1024];
    (void)state;
    open_site(&fra, "fra", "127.0.0.1", NULL);
    give_identity(&fra, "fra-1");
    for (size_t i = 0; i < SK_ARRAY_LEN(many); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "service-%zu", i);
        (void)snprintf(hosts[i], sizeof(hosts[i]), "host-%zu.example.com", i);
        many[i] = fra.services[0];
        many[i].service = sk_str(names[i]);
        many[i].host = sk_str(hosts[i]);
    }
    fra.view.services = many;
    fra.view.nservices = SK_ARRAY_LEN(many);
    apply(&fra);
    settle(&fra);
    assert_int_equal(ask("127.0.0.1", http_port, "host-399.example.com", text, sizeof(text)), 503);
    close_site(&fra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(routes_by_host_and_says_who, setup, teardown),
        cmocka_unit_test_setup_teardown(published_ports_are_tcp, setup, teardown),
        cmocka_unit_test_setup_teardown(many_services_fit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
