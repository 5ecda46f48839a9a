/* SPDX-License-Identifier: Apache-2.0 */
#include "project_help.h"

/*
 * What is refused: each rule with its code, its whole message (and so its position) and its fix.
 * The accepted twins of these, as near to the border as can be, stand at the end.
 */

static const struct refusal shape[] = {
    {"", SK_ERR_INPUT, "c.yaml:1:1: the document must be a map, not empty", ""},
    {"[]", SK_ERR_INPUT, "c.yaml:1:1: the document must be a map, not a list", ""},
    {"services: []", SK_ERR_INPUT, "c.yaml:1:11: 'services' must be a map, not a list", ""},
    {"services: {}", SK_ERR_INPUT, "c.yaml:1:1: the project has no services", ""},
    {"name: shop", SK_ERR_INPUT, "c.yaml:1:1: the project has no services", ""},
    {"services: {a: }", SK_ERR_INPUT, "c.yaml:1:15: 'services.a' must be a map, not empty", ""},
    {"services: {a: {}}", SK_ERR_INPUT,
     "c.yaml:1:12: the service 'a' has neither image nor command",
     "write 'image:', or 'command:' to run a program of the host"},
    {"services: {a: {environment: {A: 1}}}", SK_ERR_INPUT,
     "c.yaml:1:12: the service 'a' has neither image nor command",
     "write 'image:', or 'command:' to run a program of the host"},
    {"services: {A: {image: x}}", SK_ERR_INPUT, "c.yaml:1:12: 'A' is not a name of a service",
     "use 1 to 63 lower case letters, digits, '-' and '_', first a letter or digit"},
    {"services: {a.b: {image: x}}", SK_ERR_INPUT, "c.yaml:1:12: 'a.b' is not a name of a service",
     "use 1 to 63 lower case letters, digits, '-' and '_', first a letter or digit"},
    {"name: Shop\nservices: {a: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:7: 'Shop' is not a name of a project",
     "use 1 to 63 lower case letters, digits, '-' and '_', first a letter or digit"},
    {"name: 5\nservices: {a: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:7: 'name' must be a string, not a number", "write it in quotes: \"5\""},
};

static const struct refusal keys[] = {
    {"services: {a: {imagee: x}}", SK_ERR_INPUT,
     "c.yaml:1:16: unknown key 'services.a.imagee'; did you mean 'image'?",
     "write 'image' for 'imagee', or remove it"},
    {"services: {a: {image: x, zzz: 1}}", SK_ERR_INPUT, "c.yaml:1:26: unknown key 'services.a.zzz'",
     "remove the key; docs/declaration.md lists those that work"},
    {"servces: {}", SK_ERR_INPUT, "c.yaml:1:1: unknown key 'servces'; did you mean 'services'?",
     "write 'services' for 'servces', or remove it"},
    {"services: {a: {image: x, build: .}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:26: compose key 'services.a.build' is not supported by skerry yet",
     "build and push the image beforehand, and name it in 'image'"},
    {"services: {a: {image: x, privileged: true}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:26: compose key 'services.a.privileged' is not supported by skerry yet",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, volumes: ['d:/d']}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:26: compose key 'services.a.volumes' is not supported by skerry yet",
     "keep the data outside for now; 'tmpfs' gives scratch space"},
    {"services: {a: {image: x, networks: [n]}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:26: compose key 'services.a.networks' is not supported by skerry yet",
     "remove it: a project has no networks of its own yet"},
    {"volumes: {d: }\nservices: {a: {image: x}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:1: compose key 'volumes' is not supported by skerry yet",
     "keep the data outside for now; 'tmpfs' gives scratch space"},
    {"services: {a: {image: x, deploy: {mode: global}}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:35: compose key 'services.a.deploy.mode' is not supported by skerry yet",
     "remove it: services are replicated; see 'replicas'"},
    {"services: {a: {image: x, deploy: {update_config: {parallelism: 2}}}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:35: compose key 'services.a.deploy.update_config' is not supported by skerry yet",
     "remove it for now: a change replaces the replicas of a service"},
    {"services: {a: {image: x, deploy: {resources: {limits: {cpu: 1}}}}}", SK_ERR_INPUT,
     "c.yaml:1:56: unknown key 'services.a.deploy.resources.limits.cpu'; did you mean 'cpus'?",
     "write 'cpus' for 'cpu', or remove it"},
    {"services: {a: {image: x, deploy: {resources: {reservations: {devices: []}}}}}",
     SK_ERR_UNSUPPORTED,
     "c.yaml:1:62: compose key 'services.a.deploy.resources.reservations.devices' is not supported "
     "by skerry yet",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, deploy: {placement: {preferences: []}}}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:47: compose key 'services.a.deploy.placement.preferences' is not supported by "
     "skerry yet",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, healthcheck: {test: t, start_interval: 1s}}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:49: compose key 'services.a.healthcheck.start_interval' is not supported by skerry "
     "yet",
     "remove it: until a replica is healthy it is checked every 100 ms"},
    {"services: {a: {image: x, healthcheck: {test: t, intervall: 1s}}}", SK_ERR_INPUT,
     "c.yaml:1:49: unknown key 'services.a.healthcheck.intervall'; did you mean 'interval'?",
     "write 'interval' for 'intervall', or remove it"},
    {"services: {a: {image: x, x-skery: {}}}", SK_ERR_INPUT,
     "c.yaml:1:26: unknown key 'services.a.x-skery'; did you mean 'x-skerry'?",
     "write 'x-skerry' for 'x-skery', or remove it"},
    {"services: {a: {image: x, deploy: {x-skerry: {survive: {sites: 1}}}}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.deploy.x-skerry' has no meaning here",
     "x-skerry belongs into a service or at the top level"},
    {"services: {a: {image: x, x-skerry: {survive: {site: 1}}}}", SK_ERR_INPUT,
     "c.yaml:1:47: unknown key 'services.a.x-skerry.survive.site'; did you mean 'sites'?",
     "write 'sites' for 'site', or remove it"},
    {"services: {a: {image: x, x-skerry: {x-foo: 1}}}", SK_ERR_INPUT,
     "c.yaml:1:37: unknown key 'services.a.x-skerry.x-foo'",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, x-skerry: []}}", SK_ERR_INPUT,
     "c.yaml:1:36: 'services.a.x-skerry' must be a map, not a list", ""},
    {"services: {a: {image: x}}\nx-skerry: {user: {}}", SK_ERR_INPUT,
     "c.yaml:2:12: unknown key 'x-skerry.user'; did you mean 'users'?",
     "write 'users' for 'user', or remove it"},
};

static const struct refusal how_to_run[] = {
    {"services: {a: {image: 5}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image' must be a string, not a number", "write it in quotes: \"5\""},
    {"services: {a: {image: ''}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image' must not be empty", ""},
    {"services: {a: {image: 'a b'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image' must not hold spaces", ""},
    {"services: {a: {image: x, command: a && b}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.command' has a '&' outside quotes, but no shell runs it",
     "write [\"sh\", \"-c\", \"...\"], or put it in quotes"},
    {"services: {a: {image: x, command: \"a 'b\"}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.command' has a quote ' that is never closed", ""},
    {"services: {a: {image: x, command: 'a \\'}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.command' ends in a backslash", ""},
    {"services: {a: {image: x, command: {a: b}}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.command' must be a string or a list of strings, not a map", ""},
    {"services: {a: {image: x, command: [sleep, 10]}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.command[1]' must be a string, not a number",
     "write it in quotes: \"10\""},
    {"services: {a: {image: x, environment: [A=1, A=2]}}", SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.environment' sets 'A' twice", ""},
    {"services: {a: {image: x, environment: {'a b': 1}}}", SK_ERR_INPUT,
     "c.yaml:1:47: 'services.a.environment.a b' has a name that is empty or not of printable ASCII",
     ""},
    {"services: {a: {image: x, environment: {A: [1]}}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.environment.A' must be one value, not a list", ""},
    {"services: {a: {image: x, environment: A=1}}", SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.environment' must be a map or a list of KEY=VALUE", ""},
    {"services: {a: {image: x, env_file: none.env}}", SK_ERR_INPUT,
     "c.yaml:1:36: 'services.a.env_file': open 'none.env': no such file",
     "create the file, or write {path: ..., required: false}"},
    {"services: {a: {image: x, env_file: [{required: true}]}}", SK_ERR_INPUT,
     "c.yaml:1:37: 'services.a.env_file[0]' lacks 'path'", ""},
    {"services: {a: {image: x, env_file: [{path: app.env, format: raw}]}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:53: compose key 'services.a.env_file[0].format' is not supported by skerry yet",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, env_file: bad.env}}", SK_ERR_INPUT,
     "bad.env:2:7: expected KEY=VALUE", "names have letters, digits, '_', '.' and '-'"},
    {"services: {a: {image: x, env_file: open.env}}", SK_ERR_INPUT,
     "open.env:2:3: the quote \" is never closed", ""},
    {"services: {a: {image: x, env_file: need.env}}", SK_ERR_INPUT,
     "need.env:1:3: the variable 'NONE' is not set: say so",
     "set it in the environment: export NONE=..."},
    {"services: {a: {image: x, ports: 80}}", SK_ERR_INPUT,
     "c.yaml:1:33: 'services.a.ports' must be a list, not a number", ""},
    {"services: {a: {image: x, ports: ['x:80']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' has 'x', which is neither a port nor a range of ports",
     ""},
    {"services: {a: {image: x, ports: ['80:70000']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' has '70000', which is neither a port nor a range of ports",
     ""},
    {"services: {a: {image: x, ports: ['80:80/sctp']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' has the protocol 'sctp', expected tcp or udp", ""},
    {"services: {a: {image: x, ports: ['127.0.0.1:80:80']}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:34: 'services.a.ports[0]' binds the host address '127.0.0.1', which is not "
     "supported by skerry yet",
     "leave the address out; use 'expose' for ports that stay inside"},
    {"services: {a: {image: x, ports: ['80-82:80-81']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' maps ranges of different lengths", ""},
    {"services: {a: {image: x, ports: ['81-80:80-81']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' has '81-80', which is neither a port nor a range of ports",
     ""},
    {"services: {a: {image: x, ports: ['80:80', '80:81']}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.ports[1]' has the port 80 twice", ""},
    {"services: {a: {image: x, ports: [{published: 80}]}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' lacks 'target'", ""},
    {"services: {a: {image: x, ports: [{target: 80, mode: host}]}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:53: 'services.a.ports[0].mode' is 'host', but only ingress is supported by skerry "
     "yet",
     "remove the key"},
    {"services: {a: {image: x, ports: [{target: 80, app_protocol: http}]}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:47: compose key 'services.a.ports[0].app_protocol' is not supported by skerry yet",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, ports: ['1-2000']}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.ports[0]' makes more than 1024 ports", ""},
    {"services: {a: {image: x, ports: ['80:80']}, b: {image: x, ports: ['80:90']}}", SK_ERR_INPUT,
     "c.yaml:1:67: the published port '80/tcp' of 'b' is already that of 'a'", ""},
    {"services: {a: {image: x, expose: [80/udp]}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.expose[0]' has the protocol 'udp', expected tcp", ""},
    {"services: {a: {image: x, depends_on: [b]}}", SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.depends_on' names the service 'b', which is not declared",
     "declare it under 'services', or remove the name"},
    {"services: {web: {image: x, depends_on: [dbs]}, db: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:41: 'services.web.depends_on' names the service 'dbs', which is not declared",
     "did you mean 'db'?"},
    {"services: {a: {image: x, depends_on: b}}", SK_ERR_INPUT,
     "c.yaml:1:38: 'services.a.depends_on' must be a list of services, or a map with conditions",
     ""},
    {"services: {a: {image: x, depends_on: {b: {condition: ready}}}, b: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:54: 'services.a.depends_on.b.condition' must be service_started, service_healthy or "
     "service_completed_successfully, not 'ready'",
     ""},
    {"services: {a: {image: x, depends_on: {b: {condition: service_started, required: false}}}, b: "
     "{image: x}}",
     SK_ERR_UNSUPPORTED,
     "c.yaml:1:71: compose key 'services.a.depends_on.b.required' is not supported by skerry yet",
     "remove it: a dependency is always required"},
    {"services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}, b: {image: x}}",
     SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.depends_on' waits until 'b' is healthy, but that has no health "
     "check",
     "give 'b' a healthcheck.test or x-skerry.check"},
    {"services: {a: {image: x, depends_on: [b, b]}, b: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:42: 'services.a.depends_on' names 'b' twice", ""},
    {"services: {a: {image: x, depends_on: [a]}}", SK_ERR_INPUT,
     "c.yaml:1:39: depends_on goes in a circle: a -> a", "remove one of these dependencies"},
    {"services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [c]}, c: {image: x, "
     "depends_on: [b]}}",
     SK_ERR_INPUT, "c.yaml:1:103: depends_on goes in a circle: b -> c -> b",
     "remove one of these dependencies"},
    {"services: {a: {image: x, healthcheck: {test: []}}}", SK_ERR_INPUT,
     "c.yaml:1:46: 'services.a.healthcheck.test' must start with CMD, CMD-SHELL or NONE",
     "write [\"CMD\", program, argument...] or [\"CMD-SHELL\", \"command\"]"},
    {"services: {a: {image: x, healthcheck: {test: [wget]}}}", SK_ERR_INPUT,
     "c.yaml:1:46: 'services.a.healthcheck.test' must start with CMD, CMD-SHELL or NONE",
     "write [\"CMD\", program, argument...] or [\"CMD-SHELL\", \"command\"]"},
    {"services: {a: {image: x, healthcheck: {test: ''}}}", SK_ERR_INPUT,
     "c.yaml:1:46: 'services.a.healthcheck.test' must not be empty", ""},
    {"services: {a: {image: x, healthcheck: {interval: 1s}}}", SK_ERR_UNSUPPORTED,
     "c.yaml:1:39: the health check of 'a' has no 'test', and that of the image is not supported "
     "by skerry yet",
     "write healthcheck.test, or x-skerry.check"},
    {"services: {a: {image: x, healthcheck: {test: t, interval: 5}}}", SK_ERR_INPUT,
     "c.yaml:1:59: 'services.a.healthcheck.interval' must be a duration like 500ms or 1m30s, not "
     "'5'",
     ""},
    {"services: {a: {image: x, healthcheck: {test: t, interval: 0s}}}", SK_ERR_INPUT,
     "c.yaml:1:59: 'services.a.healthcheck.interval' must be above 0 and at most a day", ""},
    {"services: {a: {image: x, healthcheck: {test: t, retries: 0}}}", SK_ERR_INPUT,
     "c.yaml:1:58: 'services.a.healthcheck.retries' must be a whole number of 1 to 1000, not '0'",
     ""},
    {"services: {a: {image: x, healthcheck: {test: t, disable: 1}}}", SK_ERR_INPUT,
     "c.yaml:1:58: 'services.a.healthcheck.disable' must be true or false, not '1'", ""},
    {"services: {a: {image: x, restart: never}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.restart' must be \"no\", always, unless-stopped, on-failure or "
     "on-failure:N, not 'never'",
     ""},
    {"services: {a: {image: x, restart: on-failure:x}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.restart' must be \"no\", always, unless-stopped, on-failure or "
     "on-failure:N, not 'on-failure:x'",
     ""},
    {"services: {a: {image: x, restart: false}}", SK_ERR_INPUT,
     "c.yaml:1:35: 'services.a.restart' must be a string, not a boolean",
     "write it in quotes: \"false\""},
    {"services: {a: {image: x, user: 1000}}", SK_ERR_INPUT,
     "c.yaml:1:32: 'services.a.user' must be a string, not a number",
     "write it in quotes: \"1000\""},
    {"services: {a: {image: x, working_dir: srv}}", SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.working_dir' must be an absolute path, not 'srv'", ""},
    {"services: {a: {image: x, stop_signal: SIGSTOPP}}", SK_ERR_INPUT,
     "c.yaml:1:39: 'services.a.stop_signal' must be a signal like SIGTERM, not 'SIGSTOPP'", ""},
    {"services: {a: {image: x, stop_grace_period: soon}}", SK_ERR_INPUT,
     "c.yaml:1:45: 'services.a.stop_grace_period' must be a duration like 500ms or 1m30s, not "
     "'soon'",
     ""},
    {"services: {a: {image: x, labels: [a=1, a=2]}}", SK_ERR_INPUT,
     "c.yaml:1:34: 'services.a.labels' has the key 'a' twice", ""},
    {"services: {a: {image: x, tmpfs: run}}", SK_ERR_INPUT,
     "c.yaml:1:33: 'services.a.tmpfs' must hold absolute paths, not 'run'", ""},
};

static const struct refusal size_and_place[] = {
    {"services: {a: {image: x, deploy: {replicas: -1}}}", SK_ERR_INPUT,
     "c.yaml:1:45: 'services.a.deploy.replicas' must be a whole number of 0 to 2000000, not '-1'",
     ""},
    {"services: {a: {image: x, deploy: {replicas: 1.5}}}", SK_ERR_INPUT,
     "c.yaml:1:45: 'services.a.deploy.replicas' must be a whole number of 0 to 2000000, not '1.5'",
     ""},
    {"services: {a: {image: x, deploy: {replicas: 2000000}}, b: {image: x}}", SK_ERR_LIMIT,
     "c.yaml:1:56: more than 2000000 replicas in the project", ""},
    {"services: {a: {image: x, deploy: {resources: {limits: {cpus: '0'}}}}}", SK_ERR_INPUT,
     "c.yaml:1:62: 'services.a.deploy.resources.limits.cpus' must be above 0", ""},
    {"services: {a: {image: x, deploy: {resources: {limits: {memory: lots}}}}}", SK_ERR_INPUT,
     "c.yaml:1:64: 'services.a.deploy.resources.limits.memory' must be a size like 256M or 1.5G, "
     "not 'lots'",
     ""},
    {"services: {a: {image: x, deploy: {resources: {limits: {pids: 0}}}}}", SK_ERR_INPUT,
     "c.yaml:1:62: 'services.a.deploy.resources.limits.pids' must be a whole number of 1 to "
     "4194304, not '0'",
     ""},
    {"services: {a: {image: x, deploy: {replicas: 1000000, resources: {limits: {memory: 100T}}}}}",
     SK_ERR_LIMIT, "c.yaml:1:12: the replicas of the project are too large to add up", ""},
    {"services: {a: {image: x, deploy: {placement: {constraints: [node.labels.disk]}}}}",
     SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.deploy.placement.constraints[0]' must compare with == or !=, not "
     "'node.labels.disk'",
     "write it like \"node.labels.disk == ssd\""},
    {"services: {a: {image: x, deploy: {placement: {constraints: [node.role == manager]}}}}",
     SK_ERR_UNSUPPORTED,
     "c.yaml:1:61: 'services.a.deploy.placement.constraints[0]' constrains 'node.role', which is "
     "not supported by skerry yet",
     "use node.labels.KEY, node.name, node.site, site.provider or site.region"},
    {"services: {a: {image: x, deploy: {placement: {constraints: [nodes.name == n]}}}}",
     SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.deploy.placement.constraints[0]' constrains 'nodes.name', which is "
     "not known",
     "use node.labels.KEY, node.name, node.site, site.provider or site.region"},
    {"services: {a: {image: x, deploy: {placement: {constraints: ['node.name == ']}}}}",
     SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.deploy.placement.constraints[0]' has nothing to compare with", ""},
    {"services: {a: {image: x, deploy: {placement: {constraints: ['node.labels. == b']}}}}",
     SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.deploy.placement.constraints[0]' has no valid label after "
     "'node.labels.'",
     ""},
};

static const struct refusal policies[] = {
    {"services: {a: {image: x, deploy: {replicas: 3}, x-skerry: {survive: {keep: 4}}}}",
     SK_ERR_INPUT,
     "c.yaml:1:76: 'services.a.x-skerry.survive.keep' is 4, but there are only 3 replicas",
     "lower keep to 3, or raise deploy.replicas to 4"},
    {"services: {a: {image: x, x-skerry: {survive: {sites: 17}}}}", SK_ERR_INPUT,
     "c.yaml:1:54: 'services.a.x-skerry.survive.sites' must be a whole number of 0 to 16, not '17'",
     ""},
    {"services: {a: {image: x, x-skerry: {exclusive: true}, deploy: {replicas: 2}}}", SK_ERR_INPUT,
     "c.yaml:1:48: the exclusive service 'a' must have 1 replica, not 2",
     "set deploy.replicas to 1, or remove exclusive"},
    {"services: {a: {image: x, x-skerry: {exclusive: true, survive: {keep: 1}}}}", SK_ERR_INPUT,
     "c.yaml:1:70: the exclusive service 'a' cannot keep 1: it pauses when its place is lost",
     "remove keep, or exclusive"},
    {"services: {a: {image: x, x-skerry: {exclusive: sure}}}", SK_ERR_INPUT,
     "c.yaml:1:48: 'services.a.x-skerry.exclusive' must be true or false, not 'sure'", ""},
    {"services: {a: {image: x, x-skerry: {latency: {ms: 60}}}}", SK_ERR_INPUT,
     "c.yaml:1:46: 'services.a.x-skerry.latency' needs users, and the project has none",
     "declare x-skerry.users at the top level"},
    {"services: {a: {image: x, x-skerry: {latency: {share: 90%}}}}\nx-skerry: {users: {u: {at: [0, "
     "0]}}}",
     SK_ERR_INPUT, "c.yaml:1:46: 'services.a.x-skerry.latency' lacks 'ms' or 'after_loss_ms'", ""},
    {"services: {a: {image: x, x-skerry: {latency: {ms: 0}}}}", SK_ERR_INPUT,
     "c.yaml:1:51: 'services.a.x-skerry.latency.ms' must be above 0", ""},
    {"services: {a: {image: x, x-skerry: {latency: {ms: 5, share: 120%}}}}", SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.x-skerry.latency.share' must be a share like 95% or 0.95, not "
     "'120%'",
     ""},
    {"services: {a: {image: x, x-skerry: {latency: {ms: 5, share: 0}}}}", SK_ERR_INPUT,
     "c.yaml:1:61: 'services.a.x-skerry.latency.share' must be above 0", ""},
    {"services: {a: {image: x, x-skerry: {survive: {sites: 0}, latency: {after_loss_ms: "
     "5}}}}\nx-skerry: {users: {u: {at: [0, 0]}}}",
     SK_ERR_INPUT,
     "c.yaml:1:54: 'services.a.x-skerry.survive.sites' is 0, but latency.after_loss_ms asks to "
     "survive a site",
     "raise sites to 1, or remove after_loss_ms"},
    {"services: {a: {image: x, x-skerry: {residency: []}}}", SK_ERR_INPUT,
     "c.yaml:1:48: 'services.a.x-skerry.residency' must not be empty: nowhere would be allowed",
     "name regions or country:XX, or remove the key"},
    {"services: {a: {image: x, x-skerry: {residency: [eu, 'country:de']}}}", SK_ERR_INPUT,
     "c.yaml:1:53: 'services.a.x-skerry.residency[1]' must name a country by two capital letters, "
     "not 'country:de'",
     "write it like country:DE"},
    {"services: {a: {image: x, x-skerry: {residency: ['']}}}", SK_ERR_INPUT,
     "c.yaml:1:49: 'services.a.x-skerry.residency[0]' must hold names of regions, or country:XX",
     ""},
    {"services: {a: {image: x, x-skerry: {cost: {}}}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.x-skerry.cost' lacks 'month'", ""},
    {"services: {a: {image: x, x-skerry: {cost: {month: -1}}}}", SK_ERR_INPUT,
     "c.yaml:1:51: 'services.a.x-skerry.cost.month' must be a number of 0 to 1000000000000, not "
     "'-1'",
     ""},
    {"services: {a: {image: x, x-skerry: {cost: {hour: 1}}}}", SK_ERR_INPUT,
     "c.yaml:1:44: unknown key 'services.a.x-skerry.cost.hour'",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x, x-skerry: {traffic: {rps: many}}}}", SK_ERR_INPUT,
     "c.yaml:1:52: 'services.a.x-skerry.traffic.rps' must be a number of 0 to 1000000000000, not "
     "'many'",
     ""},
    {"services: {a: {image: x, x-skerry: {traffic: {rps_per_replica: 0}}}}", SK_ERR_INPUT,
     "c.yaml:1:64: 'services.a.x-skerry.traffic.rps_per_replica' must be above 0", ""},
    {"services: {a: {image: x, x-skerry: {route: {host: h}}}}", SK_ERR_INPUT,
     "c.yaml:1:44: 'services.a.x-skerry.route' lacks 'port'", ""},
    {"services: {a: {image: x, x-skerry: {route: {port: 80}}}}", SK_ERR_INPUT,
     "c.yaml:1:44: 'services.a.x-skerry.route' lacks 'host'", ""},
    {"services: {a: {image: x, x-skerry: {route: {host: 'h/x', port: 80}}}}", SK_ERR_INPUT,
     "c.yaml:1:51: 'services.a.x-skerry.route.host' must be a host name, not 'h/x'",
     "use lower case letters, digits, '-' and '.'"},
    {"services: {a: {image: x, x-skerry: {route: {host: h, port: 0}}}}", SK_ERR_INPUT,
     "c.yaml:1:60: 'services.a.x-skerry.route.port' must be a whole number of 1 to 65535, not '0'",
     ""},
    {"services: {a: {image: x, x-skerry: {route: {host: h, port: 80}}}, b: {image: x, x-skerry: "
     "{route: {host: h, port: 81}}}}",
     SK_ERR_INPUT, "c.yaml:1:99: the route 'h' of 'b' is already that of 'a'", ""},
    {"services: {a: {image: x, x-skerry: {near: [b]}}}", SK_ERR_INPUT,
     "c.yaml:1:44: 'services.a.x-skerry.near' names the service 'b', which is not declared",
     "declare it under 'services', or remove the name"},
    {"services: {a: {image: x, x-skerry: {near: [a]}}}", SK_ERR_INPUT,
     "c.yaml:1:44: 'services.a.x-skerry.near' names the service itself", ""},
    {"services: {a: {image: x, x-skerry: {near: [b, b]}}, b: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:47: 'services.a.x-skerry.near' names 'b' twice", ""},
    {"services: {a: {image: x, x-skerry: {near: b}}, b: {image: x}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.x-skerry.near' must be a list, not a string", ""},
    {"services: {a: {image: x, x-skerry: {disk: big}}}", SK_ERR_INPUT,
     "c.yaml:1:43: 'services.a.x-skerry.disk' must be a size like 256M or 1.5G, not 'big'", ""},
    {"services: {a: {image: x, x-skerry: {check: {http: {path: x, port: 1}}}}}", SK_ERR_INPUT,
     "c.yaml:1:58: 'services.a.x-skerry.check.http.path' must be a path like /healthz, not 'x'",
     ""},
    {"services: {a: {image: x, x-skerry: {check: {http: {path: /}}}}}", SK_ERR_INPUT,
     "c.yaml:1:51: 'services.a.x-skerry.check.http' lacks 'port'", ""},
    {"services: {a: {image: x, x-skerry: {check: {}}}}", SK_ERR_INPUT,
     "c.yaml:1:44: 'services.a.x-skerry.check' lacks 'http'", ""},
    {"services: {a: {image: x, healthcheck: {disable: true}, x-skerry: {check: {http: {port: "
     "1}}}}}",
     SK_ERR_INPUT, "c.yaml:1:74: the health check of 'a' is both disabled and written", ""},
};

static const struct refusal users_and_buckets[] = {
    {"services: {a: {image: x}}\nx-skerry: {users: {u: {}}}", SK_ERR_INPUT,
     "c.yaml:2:23: 'x-skerry.users.u' lacks 'at' or 'rtt_ms'", ""},
    {"services: {a: {image: x}}\nx-skerry: {users: {u: {at: [0, 0], share: 0}}}", SK_ERR_INPUT,
     "c.yaml:2:43: 'x-skerry.users.u.share' must be above 0", ""},
    {"services: {a: {image: x}}\nx-skerry: {users: {u: {at: [100, 0]}}}", SK_ERR_INPUT,
     "c.yaml:2:29: 'x-skerry.users.u.at[0]' must be a number of -90 to 90, not '100'", ""},
    {"services: {a: {image: x}}\nx-skerry: {users: {u: {rtt_ms: {fra: fast}}}}", SK_ERR_INPUT,
     "c.yaml:2:38: 'x-skerry.users.u.rtt_ms.fra' must be a number of 0 to 1000000, not 'fast'", ""},
    {"services: {a: {image: x}}\nx-skerry: {users: {'u v': {at: [0, 0]}}}", SK_ERR_INPUT,
     "c.yaml:2:20: 'u v' is not a name of a population of users",
     "use 1 to 63 letters, digits, '-', '_' and '.', first a letter or digit"},
    {"services: {a: {image: x}}\nx-skerry: {buckets: {B: {}}}", SK_ERR_INPUT,
     "c.yaml:2:22: 'B' is not a name of a bucket",
     "use 1 to 63 lower case letters, digits and '-'"},
    {"services: {a: {image: x}}\nx-skerry: {buckets: {b: {code: 4}}}", SK_ERR_INPUT,
     "c.yaml:2:32: 'x-skerry.buckets.b.code' must be a string, not a number",
     "write it in quotes: \"4\""},
    {"services: {a: {image: x}}\nx-skerry: {buckets: {b: {code: 0+2}}}", SK_ERR_INPUT,
     "c.yaml:2:32: 'x-skerry.buckets.b.code' must be a code like 4+2 (1 to 64 data, 0 to 64 "
     "parity), not '0+2'",
     ""},
    {"services: {a: {image: x}}\nx-skerry: {buckets: {b: {survive: {nodes: 1}}}}", SK_ERR_INPUT,
     "c.yaml:2:36: unknown key 'x-skerry.buckets.b.survive.nodes'",
     "remove the key; docs/declaration.md lists those that work"},
    {"services: {a: {image: x}}\nx-skerry: {buckets: {b: {residency: []}}}", SK_ERR_INPUT,
     "c.yaml:2:37: 'x-skerry.buckets.b.residency' must not be empty: nowhere would be allowed",
     "name regions or country:XX, or remove the key"},
};

static const struct refusal variables[] = {
    {"services: {a: {image: '${NONE:?say which}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': the variable 'NONE' is not set: say which",
     "set it in the environment: export NONE=..."},
    {"services: {a: {image: '${EMPTY:?}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': the variable 'EMPTY' is not set: it is required",
     "set it in the environment: export EMPTY=..."},
    {"services: {a: {image: '${NONE?x ${SET}}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': the variable 'NONE' is not set: x value",
     "set it in the environment: export NONE=..."},
    {"services: {a: {image: 'a$'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': a '$' stands before neither a variable's name nor '{' nor "
     "'$'",
     "write ${NAME} for a variable, $$ for a dollar sign"},
    {"services: {a: {image: '${'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': a '${' is never closed",
     "write ${NAME} for a variable, $$ for a dollar sign"},
    {"services: {a: {image: '${}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': a '${' is not followed by a variable's name",
     "write ${NAME} for a variable, $$ for a dollar sign"},
    {"services: {a: {image: '${SET!}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': a variable in '${...}' is followed by something other than "
     "'-', '?' or '+'",
     "write ${NAME} for a variable, $$ for a dollar sign"},
    {"services: {a: {image: '$1'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': a '$' stands before neither a variable's name nor '{' nor "
     "'$'",
     "write ${NAME} for a variable, $$ for a dollar sign"},
    {"services: {a: {image: '${BAD}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image': the variable 'BAD' holds bytes that are no text", ""},
    {"services: {a: {image: '${NONE}'}}", SK_ERR_INPUT,
     "c.yaml:1:23: 'services.a.image' must not be empty", ""},
    {"services: {a: {image: "
     "'${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-${A:-x}"
     "}}}}}}}}}}}}}}}}}'}}",
     SK_ERR_LIMIT, "c.yaml:1:23: 'services.a.image': variables are nested more than 16 deep", ""},
    {"services: {a: {image: x, deploy: {replicas: '${SET}'}}}", SK_ERR_INPUT,
     "c.yaml:1:45: 'services.a.deploy.replicas' must be a whole number of 0 to 2000000, not "
     "'value'",
     ""},
};

static const char *const twins[] = {
    "services: {a: {image: x}}",
    "services:\n  a:\n    image: x\n    x-skerry:\nx-skerry:\nversion: 3\n",
    "x-skerry: {buckets: {b: }}",
    "services: {a: {command: [/bin/true]}}",
    "services: {a: {entrypoint: /bin/true}}",
    "services: {0a_b-c: {image: x}}",
    "name: my-app_2\nservices: {a: {image: x}}",
    "services: {a: {image: x, x-anything: {imagee: 1}, deploy: {x-else: 1}}}",
    "services: {a: {image: x, command: 'a \"b && c\" \\| d'}}",
    "services: {a: {image: x, command: }}",
    "services: {a: {image: x, command: []}}",
    "services: {a: {image: x, command: [sleep, '10']}}",
    "services: {a: {image: x, environment: [A=1, B=A=2, C=]}}",
    "services: {a: {image: x, environment: {A: 1.50, B: false}}}",
    "services: {a: {image: x, env_file: {path: none.env, required: false}}}",
    "services: {a: {image: x, ports: ['0.0.0.0:80:80', '[::]:81:80', ':82', 1-1021/udp]}}",
    "services: {a: {image: x, ports: ['80:80', '80:80/udp', '80', 90]}}",
    "services: {a: {image: x, ports: [{target: 80, mode: ingress, host_ip: 0.0.0.0, protocol: "
    "udp}]}}",
    "services: {a: {image: x, ports: ['80:80']}, b: {image: x, ports: ['81:80', '80:80/udp']}}",
    "services: {a: {image: x, expose: [80/tcp, 81-83]}}",
    "services: {a: {image: x, depends_on: [b, c]}, b: {image: x, depends_on: [d]}, c: {image: x, "
    "depends_on: [d]}, d: {image: x}}",
    "services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}, b: {image: x, "
    "healthcheck: {test: t}}}",
    "services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}, b: {image: x, "
    "x-skerry: {check: {http: {port: 1}}}}}",
    "services: {a: {image: x, healthcheck: {test: [NONE]}}}",
    "services: {a: {image: x, healthcheck: {disable: true, interval: 5s}}}",
    "services: {a: {image: x, healthcheck: {test: [CMD-SHELL, 'a | b']}}}",
    "services: {a: {image: x, healthcheck: {interval: 5s}, x-skerry: {check: {http: {path: /a?b, "
    "port: 65535}}}}}",
    "services: {a: {image: x, healthcheck: {test: t, interval: 1ms, start_period: 0s, retries: "
    "1000}}}",
    "services: {a: {image: x, restart: no}}",
    "services: {a: {image: x, restart: 'on-failure:5'}, b: {image: x, restart: on-failure}}",
    "services: {a: {image: x, stop_signal: SIGRTMIN+3}, b: {image: x, stop_signal: 9}}",
    "services: {a: {image: x, tmpfs: '/run:size=1m'}}",
    "services: {a: {image: x, deploy: {replicas: 0}}}",
    "services: {a: {image: x, deploy: {replicas: 2000000}}}",
    "services: {a: {image: x, deploy: {resources: {reservations: {cpus: 0, memory: 0}}}}}",
    "services: {a: {image: x, deploy: {placement: {constraints: [node.labels.a.b/c==d e, node.name "
    "!= n, node.site==s, site.provider == p]}}}}",
    "services: {a: {image: x, deploy: {replicas: 3}, x-skerry: {survive: {keep: 3, nodes: 16}}}}",
    "services: {a: {image: x, x-skerry: {exclusive: true, survive: {keep: 0, sites: 1}}}}",
    "services: {a: {image: x, x-skerry: {latency: {ms: 0.5, share: 100%}}}}\nx-skerry: {users: {u: "
    "{rtt_ms: {s: 0}}}}",
    "services: {a: {image: x, x-skerry: {residency: eu}}}",
    "services: {a: {image: x, x-skerry: {residency: ['country:DE', 'eu west']}}}",
    "services: {a: {image: x, x-skerry: {cost: {month: 0}, traffic: {}}}}",
    "services: {a: {image: x, x-skerry: {route: {host: a.b, port: 1}}}, b: {image: x, x-skerry: "
    "{route: {host: b.b, port: 1}}}}",
    "services: {a: {image: x, x-skerry: {near: [c, b], disk: 0}}, b: {image: x}, c: {image: x}}",
    "services: {a: {image: x}}\nx-skerry: {users: {U.1: {at: [-90, 180], share: 1e-9}}, buckets: "
    "{b-1: {code: 64+0, size: 5}}}",
};

static void refuses_shape(void **state)
{
    HELP_REFUSE(shape, false);
}

static void refuses_keys(void **state)
{
    HELP_REFUSE(keys, false);
}

static void refuses_how_to_run(void **state)
{
    HELP_REFUSE(how_to_run, false);
}

static void refuses_size_and_place(void **state)
{
    HELP_REFUSE(size_and_place, false);
}

static void refuses_policies(void **state)
{
    HELP_REFUSE(policies, false);
}

static void refuses_users_and_buckets(void **state)
{
    HELP_REFUSE(users_and_buckets, false);
}

static void refuses_variables(void **state)
{
    HELP_REFUSE(variables, false);
}

static void accepts_the_twins(void **state)
{
    for (size_t i = 0; i < sizeof(twins) / sizeof(twins[0]); i++) {
        struct project *project = help_accept(twins[i]);
        struct project *again = NULL;
        struct sk_err err = {0};
        if (project_from_canonical("canonical", project->canonical, &again, &err) < 0) {
            fail_msg("%s\n%s", err.msg, project->canonical.ptr);
        }
        assert_string_equal(again->canonical.ptr, project->canonical.ptr);
        project_free(again);
        project_free(project);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_shape),      cmocka_unit_test(refuses_keys),
        cmocka_unit_test(refuses_how_to_run), cmocka_unit_test(refuses_size_and_place),
        cmocka_unit_test(refuses_policies),   cmocka_unit_test(refuses_users_and_buckets),
        cmocka_unit_test(refuses_variables),  cmocka_unit_test(accepts_the_twins),
    };
    return cmocka_run_group_tests_name("project refusals", tests, NULL, NULL);
}
