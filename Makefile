# avsep: `make demo` makes and separates a video, `make test` runs the tests, `make help` lists all.
# Every target sets up .venv first if it is missing or pyproject.toml has changed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help demo test check bench bench-samplers clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    make a duet, separate it, score it; then open out/demo/report.html"
	@echo "make test    all tests (make test quick=1: the quick set only)"
	@echo "make check   ruff, pyright and the architecture tests"
	@echo "make bench   speed and memory beside other implementations: writes docs/performance.md"
	@echo "make bench-samplers   quality of DAVIS samples by number of steps: table and plot"
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
	$(BIN)/python benchmarks/run_all.py $(if $(recordings),--recordings $(recordings)) $(if $(before),--before $(before))

bench-samplers: $(VENV)/.dev
	$(BIN)/python benchmarks/bench_samplers.py

FAILED_INSTALL := { echo "Installing failed, see above: pip needs a package index (it downloads about"; \
  echo "3 GB, mostly torch) and 6 GB of disk. The same command resumes the installation."; exit 1; }

# The package is installed in place (editable), again only when pyproject.toml changes.
$(VENV)/.runtime: pyproject.toml | $(VENV)/.exists
	@echo "setting up $(VENV), the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --editable . || $(FAILED_INSTALL)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.exists
	@echo "setting up $(VENV), the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' || $(FAILED_INSTALL)
	@touch $@ $(VENV)/.runtime

$(VENV)/.exists:
	@command -v $(PYTHON) >/dev/null || { echo "avsep needs Python 3.11 or newer, and there is no '$(PYTHON)':"; \
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
