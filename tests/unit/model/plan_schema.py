#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/schema/plan.json: the plan that the writer prints passes, with every key needed and none added.

usage: plan_schema.py PROGRAM; the program prints a plan with a row of every kind.
"""
import copy
import json
import os
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("python3-jsonschema is not installed")
    sys.exit(77)


def objects(value, way=()):
    """Every object of a document with the way to it."""
    if isinstance(value, dict):
        yield way, value
        for key, inner in value.items():
            yield from objects(inner, way + (key,))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from objects(inner, way + (i,))


def at(document, way):
    for step in way:
        document = document[step]
    return document


def main():
    root = os.environ["SKERRY_SOURCE_ROOT"]
    with open(os.path.join(root, "docs/schema/plan.json"), encoding="utf-8") as file:
        schema = json.load(file)
    plan = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(plan)
    tried = 0
    for way, found in objects(plan):
        free = way[-1:] == ("shards",)
        for key in list(found) + ["unheard_of"]:
            damaged = copy.deepcopy(plan)
            if key in found:
                if free or (way == ("timing_ms",) and key == "print"):
                    continue
                del at(damaged, way)[key]
            else:
                at(damaged, way)[key] = [1]
            tried += 1
            if validator.is_valid(damaged):
                sys.exit(f"passes with {'/'.join(map(str, way))} without or with '{key}'")
    print(f"{tried} damages, all refused")


main()
