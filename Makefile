# Every verb of the project. `make` alone lists them.
SHELL := /bin/bash -euo pipefail
PYTHON ?= python3.11
BIN := .venv/bin
PROTOS := $(shell find proto -name "*.proto" | sort)
# The commit that first published the contract.
CONTRACT_SINCE := c00297871a8d3bd11c244bc38795eb53baf6ba0d
CONTRACT := $(filter proto/forge/%,$(PROTOS))
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PROTOC = PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I proto -I $(SITE)

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

.PHONY: setup
setup: .venv/.stamp ## make .venv with everything pinned, and the forge command
.venv/.stamp: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: demo
demo: setup ## render both example requests and put the videos into out/
	$(BIN)/forge demo --home .forge

.PHONY: up
up: setup ## run the platform until Ctrl-C
	$(BIN)/forge up --home .forge

.PHONY: test
test: setup browser ## run the tests: first what is small, then what starts whole platforms, then browsers
	$(BIN)/pytest -n 2 --dist loadfile tests/simulation tests/unit tests/rpc tests/contract tests/fuzz
	$(BIN)/pytest -n 2 --dist loadfile tests/faults tests/e2e
	$(BIN)/pytest -n 2 --dist loadfile tests/browser

.PHONY: browser
browser: ## see that there is a Chromium for the tests; install Debian's where that is missing and allowed
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    || { echo "The tests in a browser need Chromium. As root: apt-get install chromium" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

.PHONY: full-size sim faults
full-size: setup ## run in full what make test cuts short or leaves out: the demo, an installation that measures itself, the simulation, memory
	$(BIN)/pytest --full-size -m only_full_size tests/e2e
	$(BIN)/pytest --full-size -m "cut_short or only_full_size" -n 2 \
	  tests/simulation tests/unit/inference_worker tests/unit/models_demo tests/unit/scheduler tests/unit/test_migrate.py \
	  tests/rpc/accounts tests/rpc/scheduler
sim: setup ## run ten thousand seeds of the simulated fleet
	$(BIN)/python -m tests.simulation --seeds 10000
faults: setup ## try every fault against real processes and print the table
	$(BIN)/python -m tests.faults

.PHONY: load
load: setup ## measure what the services take, on SQLite and on PostgreSQL with one scheduler and with two, and print the table
	$(BIN)/python -m bench.load

.PHONY: train-demo
train-demo: setup ## train the demo weights again, or go on with it; takes hours and writes models_demo/weights
	$(BIN)/python -m models_demo.training

.PHONY: prometheus
PROMETHEUS := build/prometheus
prometheus: setup ## try dashboard and rules against a real Prometheus; unpacks Debian's into build/ where none is installed
	@command -v prometheus >/dev/null || test -x $(PROMETHEUS)/usr/bin/prometheus || { \
	  command -v apt-get >/dev/null || { echo "This needs Prometheus: prometheus and promtool on the PATH" >&2; exit 1; }; \
	  [ "$$(id -u)" != 0 ] || apt-get update -qq; \
	  mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .; }
	PATH="$(abspath $(PROMETHEUS)/usr/bin):$$PATH" $(BIN)/pytest tests/prometheus

.PHONY: fuzz
FUZZ_SECONDS ?= 60
fuzz: setup ## feed parsers with made-up bytes (each FUZZ_SECONDS), a platform with ten thousand malformed requests and with its own OpenAPI document
	for target in $$($(BIN)/python -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)'); do \
	  $(BIN)/python -m tests.fuzz $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done
	$(BIN)/python -m tests.malformed
	$(BIN)/pytest --full-size tests/e2e/platform/test_described_requests.py

.PHONY: check
check: setup format-check lint types imports proto-lint proto-breaking gen-check edge-config licences docs ## everything but the tests that a change must pass

.PHONY: format
format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

.PHONY: format-check lint types imports
format-check: setup
	$(BIN)/ruff format --check --quiet .
lint: setup
	$(BIN)/ruff check --quiet .
types: setup
	$(BIN)/basedpyright --warnings
imports: setup
	$(BIN)/lint-imports

.PHONY: edge-config licences sbom
edge-config: setup ## have Envoy check every configuration that can be written
	$(BIN)/pytest -q tests/e2e/edge/test_configuration.py
licences: setup ## fail when a dependency has a licence that pyproject.toml does not allow
	mkdir -p build && $(BIN)/pip-licenses > build/licences.txt || { cat build/licences.txt; exit 1; }
sbom: setup ## write build/sbom.json (CycloneDX): everything that .venv, made from the lock, holds
	mkdir -p build
	$(BIN)/cyclonedx-py environment .venv --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-format JSON --output-file build/sbom.json

.PHONY: gen
gen: setup ## write gen/ from proto/
	$(call write_gen,gen)

define write_gen
	rm -rf $(1) && mkdir -p $(1)
	$(PROTOC) --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet,only_async:$(1) $(PROTOS)
	$(PROTOC) --include_imports --include_source_info -o $(1)/forge.binpb $(CONTRACT) google/rpc/status.proto google/rpc/error_details.proto
endef

.PHONY: gen-check
gen-check: setup ## fail when gen/ is not what proto/ says
	$(call write_gen,build/gen)
	diff -r -x __pycache__ gen build/gen

.PHONY: proto-lint proto-breaking
proto-lint: setup
	$(BIN)/buf lint gen/forge.binpb --path forge
# Within v1 only add: the contract must stay compatible with every version committed since it was first published.
proto-breaking: setup
	@mkdir -p build; \
	for commit in $(CONTRACT_SINCE) $$(git log --format=%H $(CONTRACT_SINCE)..HEAD -- gen/forge.binpb); do \
	  git show $$commit:gen/forge.binpb > build/before.binpb; \
	  $(BIN)/buf breaking gen/forge.binpb --against build/before.binpb || { echo "breaks the contract of $$commit"; exit 1; }; \
	done

.PHONY: docs
docs: setup ## build the documentation site into build/docs; a warning fails it
	$(BIN)/python -m docs.site.gather build/docs-source
	$(BIN)/sphinx-build -W -n --keep-going -q -E -c docs/site build/docs-source build/docs
	$(BIN)/python -m docs.site.check build/docs

.PHONY: lock
lock: setup ## pin the newest versions that pyproject.toml allows
	$(BIN)/pip-compile --quiet --strip-extras --all-extras --no-header --annotation-style=line \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' requirements.lock
