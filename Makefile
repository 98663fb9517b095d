# Everything that is done to this tree, one target each. ARGS is handed on.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types serve bench chaos openapi schema lock clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# What the product needs to run, the sandbox included.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# What its makers need besides.
$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.run ## the main job on embedded defaults: from a complaint to a replacement order
	@$(BIN)/amends demo $(ARGS)

test: $(VENV)/.dev ## all tests, on SQLite and PostgreSQL, a real Tryton included
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/.dev types ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev ## mypy, strictly
	$(BIN)/mypy

format: $(VENV)/.dev ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: $(VENV)/.run ## the API and a worker, by ./amends.toml
	@$(BIN)/amends serve $(ARGS)

bench: $(VENV)/.dev ## measure what docs/benchmarks.md claims
	@$(BIN)/python -m tests.bench.run $(ARGS)

chaos: $(VENV)/.dev ## kill workers and break lines, then count in the remotes
	@$(BIN)/python -m tests.chaos.run $(ARGS)

openapi: $(VENV)/.run ## write openapi/openapi.json anew
	$(BIN)/amends openapi --output openapi/openapi.json

schema: $(VENV)/.run ## write mappings/mapping.schema.json anew
	$(BIN)/amends map schema --output mappings/mapping.schema.json

lock: $(VENV)/.dev ## resolve the dependencies anew; hashes, no addresses
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --extra sandbox pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.txt

clean: ## remove what the targets above made
	rm -rf $(VENV) .amends .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
