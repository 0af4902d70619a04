# From a clone, with Python >= 3.11, make and PyPI: `make demo`, `make test`. Everything is made in .venv, .demo, .airflow,
# .crash, .cluster, .bench and .compat.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# uv installs several times faster; without it venv and pip do the same. `make UV= ...` is without it.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)
# A version manager's shims can be on PATH and still fail, so each candidate is run before it is believed.
# Some systems split ensurepip off, without which venv makes no pip.
PYTHON := $(shell for candidate in python3.13 python3.12 python3.11 python3 python; do \
	"$$candidate" -c 'import sys$(if $(UV),,, ensurepip, venv); sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$candidate"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
# The peers' providers bring a lot along; none of it belongs beside what the tests run with.
BENCH := .bench/venv
# What makes the environments of other Airflows: no more than Python, uv and packaging.
COMPAT := .compat/tools
# The reference is made from the docstrings, and to import them Airflow needs a home.
sphinx = AIRFLOW_HOME=$(CURDIR)/.docs/airflow AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR $(BIN)/python -m sphinx --quiet
# Compiled here on all cores: else the demo's first start would do it, one module after the other.
ifneq ($(UV),)
install = $(UV) pip install --quiet --python $(1)/bin/python --constraint constraints.txt --compile-bytecode
make_venv = $(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(1)
else
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
make_venv = $(PYTHON) -m venv $(1)
endif

.PHONY: help demo up test crash cluster compat bench bench-quick media-pictures docs docs-links lint style types arrows workflows house \
	format release-check api-snapshot constraints clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## Run the marketing example DAG against the emulator: no key, no cost, under 3 minutes
	@$(BIN)/python -m dev.demo

up: $(VENV)/.demo  ## Open the whole of Airflow with the emulator and the example DAGs; Ctrl-C ends it
	@$(BIN)/python -m dev.up

test: $(VENV)/.test  ## Run all tests, the system tests with a real Airflow included
	$(BIN)/python -m pytest $(if $(PYTEST_ARGS),$(PYTEST_ARGS),--numprocesses 2 --dist loadgroup)

crash: $(VENV)/.test  ## Kill -9 everything at random moments over CRASH_RUNS=30 runs, then count the money: about half an hour
ifeq ($(CLUSTER),)
	@$(BIN)/python -m dev.crash
	@CRASH_MATRIX=full $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup tests/crash/test_matrix.py tests/crash/test_publish_kill.py \
		tests/publishing/test_publish.py tests/publishing/test_two_tries.py
else
	@CRASH_RUNS=$${CRASH_RUNS:-3} $(BIN)/python -m dev.cluster
endif

cluster: $(VENV)/.test  ## Run Airflow with Celery on two nodes, and lose a node, a scheduler, the broker and the database; more with crash CLUSTER=1
	@CRASH_RUNS= $(BIN)/python -m dev.cluster

compat: $(COMPAT)/.ready  ## Run the tests on other Airflows and Pythons, write docs/compatibility.md; CELL=3.1-py3.12 is one, PART=unit less
	@$(COMPAT)/bin/python -m dev.compat $(if $(CELL),--cell="$(CELL)") $(if $(PART),--part="$(PART)") \
		$(if $(CONSTRAINTS),--constraints="$(CONSTRAINTS)") $(if $(PYTEST_ARGS),--pytest-args="$(PYTEST_ARGS)")

media-pictures: $(VENV)/.test  ## Draw the pictures of docs/media.md; the scripts in them need the fonts of Noto
	@$(BIN)/python -m dev.media_pictures

bench: $(BENCH)/.ready  ## Measure beside the peers and write docs/benchmarks.md: 40 minutes, less with BENCH_ARGS (--help)
	@$(BENCH)/bin/python -m benchmarks $(BENCH_ARGS)

bench-quick: $(BENCH)/.ready  ## A few small measurements beside the peers, compared with the committed ratios: 5 minutes
	@$(BENCH)/bin/python -m benchmarks.quick $(BENCH_ARGS)

docs: $(VENV)/.test  ## Build the site of the docs into .docs/: a broken link or an undocumented public name fails
	@$(sphinx) --builder html --fail-on-warning --keep-going docs .docs/html
	@echo "The site is in .docs/html: open index.html"

docs-links: $(VENV)/.test  ## Ask all external addresses that the docs name (needs the network)
	@$(sphinx) --builder linkcheck docs .docs/links

lint: style types arrows workflows docs  ## ruff, mypy --strict, the import rules, the picture of the house, workflows, and the docs

style: $(VENV)/.test  ## Of lint: ruff, and no tracked litter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@litter="$$(git ls-files --cached --ignored --exclude-standard 2>/dev/null)"; \
		test -z "$$litter" || { echo "Tracked, although .gitignore names it: $$litter"; exit 1; }

types: $(VENV)/.test  ## Of lint: mypy --strict
	$(BIN)/mypy

arrows: $(VENV)/.test  ## Of lint: which room imports which, and whether docs/architecture.md shows it
	$(BIN)/lint-imports
	$(BIN)/python -m dev.house --check --check-circles

workflows: $(VENV)/.test  ## Of lint: the forms of .github's files and of deploy/compose.yaml, and what is unsafe in workflows; without the network
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
	$(BIN)/zizmor --quiet --no-progress --offline --persona pedantic .github

house: | $(BIN)/python  ## Draw the rooms from the import graph, into docs/architecture.md
	$(BIN)/python -m dev.house

format: $(VENV)/.test  ## Mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

release-check: $(VENV)/.release  ## Build, install and check a release, into dist/; with TAG=v1.2.3 one that is about to be published
	@$(BIN)/python -m dev.release $(if $(TAG),--tag "$(TAG)")

api-snapshot: $(VENV)/.test  ## After a release: write what it promises, for later versions to be compared with
	@$(BIN)/python -m dev.release --snapshot

constraints:  ## Resolve constraints.txt anew, for all supported Pythons (needs uv)
	uv pip compile --universal --python-version 3.11 --upgrade --quiet --no-header --no-annotate --no-emit-index-url \
		--all-extras --output-file constraints.txt pyproject.toml

clean:  ## Remove all that make has made
	rm -rf $(VENV) .demo .airflow .crash .cluster .bench .compat .docs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(call make_venv,$(VENV))

$(VENV)/.demo: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing Airflow and this provider into $(VENV) ..."
	@$(call install,$(VENV)) --editable '.[emulator,media]' apache-airflow apache-airflow-providers-http \
		apache-airflow-providers-sqlite
	@touch $@

$(VENV)/.test: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing Airflow, this provider and the test tools into $(VENV) ..."
	@$(call install,$(VENV)) --editable '.[all,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.release: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing Airflow, this provider and the release tools into $(VENV) ..."
	@$(call install,$(VENV)) --editable '.[all,dev,release]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

$(COMPAT)/.ready: constraints.txt | $(COMPAT)/bin/python
	@$(call install,$(COMPAT)) packaging uv
	@touch $@

$(COMPAT)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(call make_venv,$(COMPAT))

$(BENCH)/.ready: constraints.txt pyproject.toml benchmarks/peers/requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Installing Airflow, this provider and its peers into $(BENCH) ..."
	@$(call make_venv,$(BENCH))
	@$(call install,$(BENCH)) --editable '.[emulator,media]' --requirement benchmarks/peers/requirements.txt
	@touch $@
