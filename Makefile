# Everything here needs python3 (>= 3.11) with venv, and the package index; nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ONLY ?=
TESTS ?= tests

.PHONY: help demo test lint format bench clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gatepass needs Python 3.11 or newer; say which: make PYTHON=python3.13" >&2; exit 2; }
	@echo "installing into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

demo: $(STAMP) ## agents, a helper, a revocation, approvals, tools, and rules learnt from the log
	@$(BIN)/python -m demo

test: $(STAMP) ## the whole suite, in parallel
	$(BIN)/python -m pytest -n auto -q $(TESTS)

lint: $(STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## what ruff can put right by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## side by side with no proxy, mitmdump and squid (ONLY=relay runs one group)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

clean: ## remove what was made here
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
