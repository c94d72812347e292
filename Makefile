# avsep: `make demo` to see and hear it, `make test` to trust it, `make help` for the rest.
# Each task sets up what it needs in .venv by itself; a second run starts at once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test check bench bench-samplers clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    make a duet, separate it, score it: look at out/demo/report.html"
	@echo "make test    all tests (make test quick=1: the quick set only)"
	@echo "make check   style, types and the rules of the house"
	@echo "make bench   speed, as ratios against peers"
	@echo "make bench-samplers   how well DAVIS samples in how many steps: table and plot"
	@echo "make clean   remove .venv and out/"

demo: $(VENV)/.runtime
	$(BIN)/avsep demo -o out/demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(if $(quick),,-m "slow or not slow")

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/architecture

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_bss_eval.py
	$(BIN)/python benchmarks/bench_toyband.py
	$(BIN)/python benchmarks/bench_separate.py
	$(BIN)/python benchmarks/bench_davis.py

bench-samplers: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_samplers.py

FAILED_INSTALL := { echo "Installing failed, see above: pip needs a package index it can reach (about"; \
  echo "3 GB, mostly torch) and 6 GB of disk. Then type the same again; what is done is kept."; exit 1; }

# The package is installed in place; its files are installed anew only when pyproject.toml changes.
$(VENV)/.runtime: pyproject.toml | $(VENV)/.exists
	@echo "setting up $(VENV), the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --editable . || $(FAILED_INSTALL)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.exists
	@echo "setting up $(VENV), the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' || $(FAILED_INSTALL)
	@touch $@ $(VENV)/.runtime

$(VENV)/.exists:
	@command -v $(PYTHON) >/dev/null || { echo "avsep needs Python 3.11 or newer, and '$(PYTHON)' is not there:"; \
	  echo "  apt-get install python3 python3-venv      or: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "avsep needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version)."; \
	  echo "  make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing:"; echo "  apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) out build src/avsep.egg-info
