# Everything a developer runs. `make` alone prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3; do \
	if $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, each with servers of its own (1 GB): as many as CI has cores.
WORKERS ?= 2

.PHONY: help venv servers check format test test-unit demo up down status bench soak clean

help: ## print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: $(STAMP) ## make .venv with everything at its locked version

$(STAMP): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "error: no Python 3.11 or newer with venv on PATH: install python3.11 and python3.11-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

servers: venv ## fetch Kafka and build MinIO into the shared cache (about 5 minutes, once per machine)
	@$(BIN)/python -m tests.servers fetch

check: venv ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy demo bench tests/servers tests/conftest.py
	$(BIN)/lint-imports

format: venv ## put the code in its format and order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: servers ## all tests, on the real servers, by 2 workers (WORKERS=n)
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal --require-servers -m "not soak"

test-unit: venv ## the tests that need no server
	$(BIN)/pytest -q -m "not servers and not soak"

demo: servers ## backup, kill, disaster, restore, proof: in one minute, in front of you
	@$(BIN)/python -m demo

up: servers ## start Kafka, MinIO, a worker and light traffic, and leave them running
	@$(BIN)/python -m demo up

status: venv ## is what `make up` started still running?
	@$(BIN)/python -m tests.servers status

down: venv ## stop what `make up` started
	@$(BIN)/python -m demo down

bench: servers ## measure, and write docs/benchmarks.md and bench/results.json
	$(BIN)/python -m bench

soak: servers ## the long tests; writes docs/soak.md
	$(BIN)/python -m tests.soak

clean: ## stop the stack, remove all that was made in this folder (the shared cache of servers stays)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m tests.servers down; fi
	rm -rf $(VENV) .stack .demo build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
