# Everything a newcomer runs, one target each; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# uv installs in seconds what pip installs in minutes; it lives in the virtual environment itself.
define setup
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Lumen needs Python 3.11 or newer as '$(PYTHON)'. Install it (Debian: apt install python3 python3-venv) or name one: make $@ PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. Debian and Ubuntu ship it apart: apt install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7,<1'
	@if ! cmp -s pyproject.toml $(VENV)/.$(1)-installed; then \
	  start=$$SECONDS; echo "Setting up $(VENV) ..."; \
	  VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --editable '.[$(1)]'; \
	  cp pyproject.toml $(VENV)/.$(1)-installed; echo "Setting up $(VENV)   $$((SECONDS - start)) s"; fi
endef

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

.PHONY: demo
demo:  ## start two small models and the router, classify the example pictures, stop
	$(call setup,local)
	@$(BIN)/lumen up -f examples/demo.yaml -- $(BIN)/lumen classify examples/pictures --expect examples/pictures/expected.json
	@printf '%s\n' '' 'These two models know drawings only; they are here to show the system.' '' 'Next' \
	  '  .venv/bin/lumen up -f examples/demo.yaml                                  keep it running' \
	  '  docs/run-locally.md                                                       a model that knows photographs' \
	  '  docs/install.md                                                           the same manifests on Kubernetes' \
  '  grpcurl -plaintext 127.0.0.1:50051 list                                   it speaks home_native.v1' \
	  '  make test                                                                 prove the rest'

.PHONY: test
test: lint  ## lint, types, import contracts, and every test
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# Two at least: tests wait for processes of theirs more than they compute.
TEST_PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 2 ? 2 : n)))

.PHONY: e2e
e2e: setup  ## test on a real kubelet: the cluster of KUBECONFIG, or as root on Debian one of its own
	@$(BIN)/python tests/e2e/run.py $(E2E)

.PHONY: images
images:  ## build the container images with buildah, podman or docker (IMAGES="..." names some)
	@$(PYTHON) images/build.py $(IMAGES)

.PHONY: locks
locks: setup  ## write images/locks/ anew: what each image installs, to the version and the hash
	@$(BIN)/python images/lock.py

.PHONY: bench
bench: setup  ## measure server, router and label search beside their limits (docs/benchmarks.md)
	$(BIN)/python tests/bench/bench_serving.py
	$(BIN)/python tests/bench/bench_labels.py

.PHONY: bench-operator
bench-operator: setup  ## measure the operator with 1,000 and 5,000 services beside the floor
	$(BIN)/python tests/bench/bench_operator.py --services $(SERVICES) --rounds $(ROUNDS)

SERVICES ?= 1000,5000
ROUNDS ?= 2

.PHONY: fuzz
fuzz: setup  ## send 100,000 damaged requests and pictures to a running server
	$(BIN)/python tests/fuzz/fuzz_server.py --cases 100000

.PHONY: demo-train
demo-train:  ## draw the pictures anew, train both demo models, export them
	@test -x .venv-train/bin/python || $(PYTHON) -m venv .venv-train
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.7,<1'
	VIRTUAL_ENV=.venv-train .venv-train/bin/uv pip install --requirement examples/demo/requirements-train.txt
	.venv-train/bin/python examples/demo/train.py --out examples/demo/models

.PHONY: setup
setup:  ## make .venv with everything the tests need
	$(call setup,dev)

.PHONY: generate
generate: setup  ## write the generated files anew: protobuf code, CRDs, reference pages
	$(BIN)/python -m lumen_wire.generate
	$(BIN)/python -m lumen_manifest.crd crds docs
	$(BIN)/python -m lumen_manifest.crd charts/lumen/files/crds

.PHONY: tools
tools: setup  ## build the programs that tests use ahead of them: Helm, kubectl, a control plane
	$(BIN)/python tests/go_tools.py

.PHONY: lint
lint: setup  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
