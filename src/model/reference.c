/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "model/inventory_draft.h"
#include "model/project_draft.h"

/* The reference of all keys, from the very tables that the readers use. */

const struct rd_object *const project_objects[] = {
    &project_object,     &service_object,      &env_file_object,       &depends_object,
    &healthcheck_object, &port_object,         &deploy_object,         &resources_object,
    &limits_object,      &reservations_object, &placement_object,      &policy_object,
    &survive_object,     &latency_object,      &cost_object,           &traffic_object,
    &route_object,       &check_object,        &http_object,           &world_object,
    &users_object,       &bucket_object,       &bucket_survive_object, NULL,
};

static const char *const status_names[] = {"executed", "planned", "ignored", "refused"};

static void row(struct sk_buf *out, const char *name, const char *status, const char *form,
                const char *note)
{
    sk_buf_printf(out, "| `%s` | %s | %s%s%s |\n", name, status, form ? form : "",
                  form && note ? "; " : "", note ? note : "");
}

static bool has_key(const struct rd_object *object, const char *name)
{
    for (size_t i = 0; i < object->nkeys; i++) {
        if (strcmp(object->keys[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void write_object(struct sk_buf *out, const struct rd_object *object)
{
    size_t refused = 0;

    sk_buf_printf(out, "\n### %s\n\n| key | status | values and remarks |\n| --- | --- | --- |\n",
                  object->place);
    for (size_t i = 0; i < object->nkeys; i++) {
        const struct rd_key *key = &object->keys[i];
        row(out, key->name, status_names[key->status], key->form, key->note);
    }
    for (size_t i = 0; object->known && object->known[i]; i++) {
        if (!has_key(object, object->known[i])) {
            sk_buf_printf(out, "%s`%s`",
                          refused++ ? ", " : "\nAlso known and refused: ", object->known[i]);
        }
    }
    sk_buf_adds(out, refused ? ".\n" : "");
}

void inventory_reference(struct sk_buf *out)
{
    static const struct rd_object *const objects[] = {&inventory_object, &site_object, &node_object,
                                                      &link_object};

    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        sk_buf_printf(out, "\n### %s\n\n| key | values and remarks |\n| --- | --- |\n",
                      objects[i]->place);
        for (size_t k = 0; k < objects[i]->nkeys; k++) {
            const struct rd_key *key = &objects[i]->keys[k];
            sk_buf_printf(out, "| `%s` | %s%s%s |\n", key->name, key->form, key->note ? "; " : "",
                          key->note ? key->note : "");
        }
    }
}

void project_support_matrix(struct sk_buf *out)
{
    for (size_t i = 0; project_objects[i]; i++) {
        write_object(out, project_objects[i]);
    }
}
