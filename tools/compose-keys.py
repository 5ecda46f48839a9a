#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/model/compose_keys.c: the keys of the public Compose schema, object by object.

usage: tools/compose-keys.py compose-spec.json | clang-format-14 > src/model/compose_keys.c

The schema is https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json
(Apache-2.0, the Compose Specification authors). Only names of keys are taken over.
"""
import json
import sys

# name in C, way into the schema ("#" follows the definition of that name)
OBJECTS = [
    ("compose_top_keys", []),
    ("compose_service_keys", ["#service"]),
    ("compose_deploy_keys", ["#deployment"]),
    ("compose_resources_keys", ["#deployment", "resources"]),
    ("compose_limits_keys", ["#deployment", "resources", "limits"]),
    ("compose_reservations_keys", ["#deployment", "resources", "reservations"]),
    ("compose_placement_keys", ["#deployment", "placement"]),
    ("compose_healthcheck_keys", ["#healthcheck"]),
    ("compose_depends_keys", ["#service", "depends_on", "*"]),
    ("compose_port_keys", ["#service", "ports", "*"]),
    ("compose_env_file_keys", ["#env_file", "*"]),
]


def inside(schema):
    """The objects that a schema may stand for, through oneOf, items and patterns of names."""
    found = []
    for part in schema.get("oneOf", []):
        found += inside(part)
    if isinstance(schema.get("items"), dict):
        found += inside(schema["items"])
    for pattern, part in schema.get("patternProperties", {}).items():
        if pattern != "^x-":
            found += inside(part)
    if schema.get("properties"):
        found.append(schema)
    return found


def find(root, way):
    at = root
    for step in way:
        if step.startswith("#"):
            at = root["definitions"][step[1:]]
        elif step == "*":
            (at,) = inside(at)
        else:
            at = at["properties"][step]
    return sorted(at["properties"])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        root = json.load(file)
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/*")
    print(" * Made by tools/compose-keys.py; do not edit. The keys of the Compose Specification's schema")
    print(" * (https://github.com/compose-spec/compose-spec, Apache-2.0, its authors), by which a known key")
    print(" * that is not supported is told from a typo.")
    print(" */")
    print('#include "model/compose_keys.h"')
    print()
    print("#include <stddef.h>")
    for name, way in OBJECTS:
        print()
        print(f"const char *const {name}[] = {{")
        for key in find(root, way):
            print(f'    "{key}",')
        print("    NULL,")
        print("};")


main()
