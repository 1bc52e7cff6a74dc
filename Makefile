# make demo | make test | make test-numpy1 | make lint | make bench-speed | make venv | make clean
# Needs Python 3.11 or later and a connection to a Python package index on the first run.
# PYTHON=python3.12 picks another interpreter, JOBS=4 sets the number of test processes.

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-numpy1 lint bench-speed check-python venv clean

help:
	@sed -n '1,3s/^# //p' Makefile

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; try: make PYTHON=python3.12 ..."; exit 1; }

# The stamps are compared with these two files, so an environment is used again until either changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

venv: $(VENV)/.installed-dev

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n $(JOBS)

# The entropy coder must write the same bytes with the oldest numpy that is allowed: it runs in an environment of its own.
.venv-numpy1/.installed: pyproject.toml
	@$(MAKE) --no-print-directory check-python
	$(PYTHON) -m venv .venv-numpy1
	.venv-numpy1/bin/python -m pip --disable-pip-version-check install --quiet 'numpy==1.26.4' 'constriction>=0.5,<0.6' 'safetensors>=0.4,<1'
	@touch $@

test-numpy1: $(VENV)/.installed-dev .venv-numpy1/.installed
	DACZ_NUMPY1_PYTHON=$(CURDIR)/.venv-numpy1/bin/python $(BIN)/python -m pytest -q tests/test_entropy_exact.py

# ARGS="--device cuda", ARGS=--quick and so on; opus-tools and transformers are used where they are installed.
bench-speed: $(VENV)/.installed-dev
	$(PIP) install --quiet -c constraints.txt matplotlib
	$(BIN)/python benchmarks/speed.py $(ARGS)

clean:
	rm -rf .venv-numpy1 build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
