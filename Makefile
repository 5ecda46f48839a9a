# SPDX-License-Identifier: Apache-2.0
# The front door. Meson and ninja do the work; this file only names the jobs.
BUILD ?= build
MESON_FLAGS ?=

.PHONY: all deps test demo sim asan clang fuzz fmt fmt-check soak bench clean install

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@packaging/deps.sh build
	@meson setup $(BUILD) $(MESON_FLAGS) >/dev/null || { meson setup $(BUILD) $(MESON_FLAGS); exit 1; }

deps:
	@packaging/deps.sh all

test: deps
	@tests/run.sh

demo:
	@packaging/deps.sh demo
	@$(MAKE) --no-print-directory all
	@$(BUILD)/skerry demo

# One simulated seed: make sim SEED=17 (more: build/skerry-sim --help, docs/simulator.md)
sim:
	@packaging/deps.sh build
	@$(MAKE) --no-print-directory all >/dev/null
	@$(BUILD)/skerry-sim --seed $(or $(SEED),1) $(SIM_FLAGS)

asan:
	@$(MAKE) --no-print-directory BUILD=build-asan MESON_FLAGS="-Db_sanitize=address,undefined -Dbuildtype=debug -Doptimization=1" all

clang:
	@CC=clang-14 $(MAKE) --no-print-directory BUILD=build-clang MESON_FLAGS="-Dwerror=true" all

fmt:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

fmt-check:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror

bench: all
	@packaging/deps.sh bench
	@bench/run.sh

soak: deps
	@tests/soak.sh

fuzz: deps
	@tests/run.sh fuzz

clean:
	rm -rf build build-asan build-clang build-fuzz
