# Two commands for everybody: `make run` and `make test`. The others are for those who work on the relay.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?=
# processes that `make test` uses: most tests wait, so three for each of two cores; more would be late for what has a time
JOBS ?= 6
# CI sets it to --cov=relay, and fails below the bound in pyproject.toml: measuring doubles what tests in one process cost
COVERAGE ?=
# beside the acceptance tests: what `make test` runs in a short form
LONGER := $(addprefix tests/,integration/test_weekend.py integration/test_missed_tasks.py integration/test_crm_calls.py \
  unit/test_worst_bodies.py)
UV := uv==0.13.9
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: help run test soak lint bench translations documents install lock clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: .venv/run.stamp ## start the relay on http://127.0.0.1:8000 (PORT changes it), with the sandbox
	@$(BIN)/python -m relay.sandbox.demo

test: .venv/test.stamp ## install what tests need, run all tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --engine both $(COVERAGE)

soak: .venv/test.stamp ## the long forms: 100 kills and more
	@RELAY_SOAK=1 $(BIN)/python -m pytest -s tests/acceptance $(LONGER) --timeout 3600
	@$(BIN)/python -m tests.fuzz_reading --seconds 300

lint: .venv/test.stamp ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/test.stamp ## measure: ratios against a baseline in the same run
	@$(BIN)/python -m bench

translations: .venv/test.stamp ## compile the Russian words after a change of the .po file
	@$(BIN)/pybabel compile --domain relay --directory relay/translations

documents: .venv/run.stamp ## write the tables of settings into the documents after a change of the schema
	@$(BIN)/python docs/settings_table.py

install: .venv/run.stamp ## only install what runs; EXTRAS=alerts installs what is in extras/ too
	@for extra in $(EXTRAS); do $(PIP) -r extras/$$extra.txt || exit 1; done

lock: .venv/bin/python ## exact versions with hashes, after a change of a requirements.in
	@$(PIP) $(UV)
	@for file in requirements extras/alerts extras/postgres tests/requirements; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --custom-compile-command "make lock" \
	    $$(test $$file = requirements || echo -c requirements.txt) $$file.in -o $$file.txt || exit 1; done

clean: ## remove what was installed; the database stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the relay needs Python 3.11 or newer; set PYTHON=python3.12 or so")'
	@$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.txt .venv/bin/python
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -e . # the console script `relay`
	@touch $@

.venv/test.stamp: tests/requirements.txt .venv/run.stamp
	@$(PIP) -r tests/requirements.txt
	@touch $@
