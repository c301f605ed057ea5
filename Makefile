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
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup:  ## make .venv with everything the tests need
	$(call setup,dev)

.PHONY: generate
generate: setup  ## write the generated files anew: protobuf code, CRDs
	$(BIN)/python -m lumen_wire.generate
	$(BIN)/python -m lumen_manifest.crd crds

.PHONY: lint
lint: setup  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
