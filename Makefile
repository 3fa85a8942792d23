# Every target makes its own environment in .venv first; nothing needs to be activated.
# Needs python3.11 (or PYTHON=...), git and make.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PAPERS := $(BIN)/python -m papers
NAMES := $(patsubst papers/%/run.py,%,$(wildcard papers/*/run.py))
DEMO := runs/kanwar2020-demo

.DEFAULT_GOAL := help
.PHONY: help install demo test smoke lint bench clean

help:
	@echo "make demo    sample 2D U(1) gauge theory with a flow and HMC, draw the figure (minutes)"
	@echo "make test    run the instant and fast tests"
	@echo "make smoke   run the smoke preset of every paper into runs/smoke-NAME"
	@echo "make lint    ruff, pyright and the import contracts"
	@echo "make bench   time the library and print one table"
	@echo "make clean   remove the environment, the caches and the smoke runs; other runs stay"

# The matrices here are small: linear algebra in several threads waits longer than it works.
export OPENBLAS_NUM_THREADS ?= 1

# Compiling every installed file to bytecode takes half the installation; Python does it on import,
# and keeps it, which spares every later start of a program four seconds.
unexport PYTHONDONTWRITEBYTECODE

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check \
		--only-binary pythia8mc -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP)

# A demo that was cut off is resumed; a finished one is made again from the start.
demo: $(STAMP)
	@if [ -e $(DEMO)/results.json ]; then rm -rf $(DEMO); fi
	@$(PAPERS) run kanwar2020 --preset demo --out $(DEMO) --resume

test: $(STAMP)
	@$(BIN)/python -m pytest

# Every paper runs even where one before it failed; the target fails at the end.
smoke: $(STAMP)
	@rm -rf runs/smoke-*
	@failed=; \
	for name in $(NAMES); do \
		$(PAPERS) run $$name --preset smoke --out runs/smoke-$$name || failed="$$failed $$name"; \
	done; \
	if [ -n "$$failed" ]; then echo "smoke failed:$$failed" >&2; exit 1; fi

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .cache runs/smoke-* build dist .benchmarks .hypothesis .ruff_cache .pytest_cache \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
