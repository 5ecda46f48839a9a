/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SK_MODEL_COMPOSE_KEYS_H
#define SK_MODEL_COMPOSE_KEYS_H

/* All keys of the public Compose schema, sorted and NULL-ended, object by object. Generated: see
 * tools/compose-keys.py. Internal to model. */
extern const char *const compose_top_keys[];
extern const char *const compose_service_keys[];
extern const char *const compose_deploy_keys[];
extern const char *const compose_resources_keys[];
extern const char *const compose_limits_keys[];
extern const char *const compose_reservations_keys[];
extern const char *const compose_placement_keys[];
extern const char *const compose_healthcheck_keys[];
extern const char *const compose_depends_keys[];
extern const char *const compose_port_keys[];
extern const char *const compose_env_file_keys[];

#endif
