/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made by tools/compose-keys.py; do not edit. The keys of the Compose Specification's schema
 * (https://github.com/compose-spec/compose-spec, Apache-2.0, its authors), by which a known key
 * that is not supported is told from a typo.
 */
#include "model/compose_keys.h"

#include <stddef.h>

const char *const compose_top_keys[] = {
    "configs", "include",  "models",  "name",    "networks",
    "secrets", "services", "version", "volumes", NULL,
};

const char *const compose_service_keys[] = {
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
    NULL,
};

const char *const compose_deploy_keys[] = {
    "endpoint_mode",  "labels",          "mode",          "placement", "replicas", "resources",
    "restart_policy", "rollback_config", "update_config", NULL,
};

const char *const compose_resources_keys[] = {
    "limits",
    "reservations",
    NULL,
};

const char *const compose_limits_keys[] = {
    "cpus",
    "memory",
    "pids",
    NULL,
};

const char *const compose_reservations_keys[] = {
    "cpus", "devices", "generic_resources", "memory", NULL,
};

const char *const compose_placement_keys[] = {
    "constraints",
    "max_replicas_per_node",
    "preferences",
    NULL,
};

const char *const compose_healthcheck_keys[] = {
    "disable", "interval", "retries", "start_interval", "start_period", "test", "timeout", NULL,
};

const char *const compose_depends_keys[] = {
    "condition",
    "required",
    "restart",
    NULL,
};

const char *const compose_port_keys[] = {
    "app_protocol", "host_ip", "mode", "name", "protocol", "published", "target", NULL,
};

const char *const compose_env_file_keys[] = {
    "format",
    "path",
    "required",
    NULL,
};
