/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of a lab's topology takes any bytes; what it accepts can be built. */
#include "lab/topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_str bytes = {(const char *)data, size};
    struct sk_arena *arena = sk_arena_new();
    struct lab_topology t;
    struct sk_err err = {0};

    if (lab_topology_read(arena, "a", bytes, &t, &err) == 0) {
        SK_ASSERT(lab_topology_check(&t, NULL) == 0);
        SK_ASSERT(t.nsites >= 1 && t.nsites <= LAB_SITES_MAX);
        for (size_t i = 0; i < t.nlinks; i++) {
            SK_ASSERT(t.links[i].a < t.nsites && t.links[i].b < t.nsites);
            SK_ASSERT(t.links[i].one_way || t.links[i].rtt_ms >= 0);
        }
    } else {
        SK_ASSERT(err.code == SK_ERR_INPUT || err.code == SK_ERR_LIMIT ||
                  err.code == SK_ERR_UNSUPPORTED); /* a tag of YAML */
        SK_ASSERT(err.msg[0] == 'a' && err.msg[1] == ':');
    }
    sk_arena_free(arena);
    return 0;
}
