# Everything a newcomer runs, one target each; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN = $(VENV)/bin
LOCKS := images/locks

define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Lumen needs Python 3.11 or newer as '$(PYTHON)'. Install it (Debian: apt install python3 python3-venv) or name one: make $@ PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. Debian and Ubuntu ship it apart: apt install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef

pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv installs in seconds what pip installs in minutes; it lives in the virtual environment itself.
uv = VIRTUAL_ENV=$(VENV) $(BIN)/uv pip
# What an environment is made of; its stamp is a copy of it.
MADE_OF := pyproject.toml $(patsubst %,$(LOCKS)/%.txt,uv build dev local models)

# Installs what the lock of an extra says, and nothing else; `dev` holds `local`.
define setup
	$(venv)
	@cat $(MADE_OF) | cmp -s - $(VENV)/.$(1)-installed || { \
	  start=$$SECONDS; echo "Setting up $(VENV) ..."; rm -f $(VENV)/.*-installed; \
	  $(pip) --require-hashes -r $(LOCKS)/uv.txt; \
	  $(uv) sync --quiet --require-hashes $(LOCKS)/{uv,build,$(1)}.txt; \
	  $(uv) install --quiet --no-deps --no-build-isolation --editable .; \
	  cat $(MADE_OF) | tee $(VENV)/.{local,$(1)}-installed >/dev/null; \
	  echo "Setting up $(VENV)   $$((SECONDS - start)) s"; }
endef

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

.PHONY: demo
demo:  ## start two small models and the router, classify the example pictures, stop
	@echo "make demo: half a minute, 300 MB in $(VENV) once; on a free port of 127.0.0.1"
	$(call setup,local)
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  $(BIN)/lumen up -f examples/demo.yaml --port 0 --state-dir "$$folder" -- \
	  $(BIN)/lumen classify examples/pictures --expect examples/pictures/expected.json
	@printf '%s\n' '' 'These two models know drawings only; they are here to show the system.' '' 'Next' \
	  '  .venv/bin/lumen up -f examples/demo.yaml                                  keep it running' \
	  '  docs/run-locally.md                                                       a model that knows photographs' \
	  '  docs/install.md                                                           the same manifests on Kubernetes' \
	  '  grpcurl -plaintext 127.0.0.1:50051 list                                   then it speaks home_native.v1' \
	  '  make test                                                                 prove the rest'

.PHONY: test
test:  ## lint, types, import contracts; unit and integration tests with real processes
	@echo "make test: about 5 minutes and 1 GB of disk on 2 cores, installing included; needs no Go"
	$(call setup,dev)
	$(lint)
	$(pytest) tests/unit tests/integration

.PHONY: test-cluster
test-cluster:  ## test the chart, and operator and router on a real control plane
	@echo "make test-cluster: about 20 minutes on 2 cores, 10 of them once to build Kubernetes' control plane, Helm and kwok from Go modules (8 GB of disk)"
	$(call setup,dev)
	@PYTHONPATH=tests:tests/cluster $(BIN)/python -m controlplane.binaries & building=$$!; \
	  trap 'kill $$building 2>/dev/null || :' EXIT; failed=0; \
	  $(pytest) tests/chart || failed=1; \
	  wait $$building || :; \
	  $(pytest) tests/cluster || failed=1; exit $$failed

.PHONY: e2e
e2e: setup  ## test on a real kubelet: the cluster of KUBECONFIG, or as root on Debian one of its own
	@$(BIN)/python tests/e2e/run.py $(E2E)

.PHONY: test-all
test-all: test test-models test-cluster e2e  ## all four

.PHONY: test-models
test-models: VENV := .venv-models
test-models:  ## every supported model beside open_clip's and transformers' own vectors, in .venv-models
	@echo "make test-models: 5 GB of disk in .venv-models, once, for torch"
	$(call setup,models)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/models

.PHONY: test-rknn
test-rknn: setup  ## Rockchip's converter and its simulator on tiny models, in .venv-rknn
	@echo "make test-rknn: 6 GB of disk in .venv-rknn, once"
	$(BIN)/python -m pytest tests/rknn

.PHONY: latest
latest: VENV := .venv-latest
latest:  ## `make test` with the newest of everything that pyproject.toml allows, in .venv-latest
	@echo "make latest: as make test, in an environment of its own; what is in .venv stays as it is"
	$(venv)
	@$(pip) --upgrade uv
	@$(uv) install --quiet --upgrade --editable '.[dev]'
	@echo "Not as locked:"; comm -13 <(grep -oE '^[a-z0-9._-]+==[^ ]+' $(LOCKS)/dev.txt | sort -u) <($(uv) freeze --quiet --exclude-editable | grep -vE '^(pip|uv)==' | sort)
	$(pytest) tests/unit tests/integration
	$(lint)

# One more than there are cores: tests wait for processes of theirs more than they compute.
TEST_PROCESSES ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))
pytest = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

.PHONY: images
images:  ## build the container images with buildah, podman or docker (IMAGES="..." names some)
	@$(PYTHON) images/build.py $(IMAGES)

.PHONY: locks
locks: setup  ## write images/locks/ anew: what make and each image install, to the version and the hash
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
fuzz: setup  ## send 100,000 damaged requests to a server, and attack router and server in every known shape
	$(BIN)/python tests/fuzz/fuzz_server.py --cases 100000
	$(BIN)/python tests/fuzz/attack_pictures.py
	$(BIN)/python tests/fuzz/attack_streams.py
	$(BIN)/python tests/fuzz/attack_budgets.py

.PHONY: demo-train
demo-train: VENV := .venv-train
demo-train:  ## draw the pictures anew, train both demo models, export them
	$(venv)
	@$(pip) --require-hashes -r $(LOCKS)/uv.txt
	$(uv) install --requirement examples/demo/requirements-train.txt
	$(BIN)/python examples/demo/train.py --out examples/demo/models

.PHONY: setup
setup:  ## make .venv with everything the tests need
	$(call setup,dev)

.PHONY: generate
generate: setup  ## write the generated files anew: protobuf code, CRDs, reference pages
	$(BIN)/python -m lumen_wire.generate
	$(BIN)/python -m lumen_manifest.schema.crd crds docs
	$(BIN)/python -m lumen_manifest.schema.crd charts/lumen/files/crds

.PHONY: tools
tools: setup  ## build the programs that tests use ahead of them: Helm, kubectl, a control plane
	$(BIN)/python tests/go_tools.py

.PHONY: lint
lint: setup  ## style, types, import contracts
	$(lint)

define lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
endef
