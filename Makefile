# `make demo` and `make test` need nothing but Python 3.11 or newer and make.
# Everything is installed into .venv, at the versions that constraints.txt pins.
# pip reads its usual configuration (pip.conf, PIP_* variables).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Further arguments of the command that a target runs: make demo ARGS="--data fashion-mnist"
ARGS   ?=

# What `make lock` holds back although newer versions exist.
HELD   := torch==2.13.0

PARALLEL    := --numprocesses auto --maxprocesses 4
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
INPUTS      := pyproject.toml constraints.txt tools/make-venv.sh

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test cases test-longer test-lowest lint format web wheel lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## install Narrows into .venv and run its demonstration
	$(BIN)/narrows demo $(ARGS)

test: $(VENV)/.installed-dev ## install Narrows with its tools and run the tests
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered --cov-fail-under=97 $(ARGS)

cases: $(VENV)/.installed-dev ## replay the inputs that users stumbled over
	$(BIN)/python -m pytest $(PARALLEL) -m "cases and not longer" $(ARGS)

test-longer: $(VENV)/.installed-dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m longer $(ARGS)

test-lowest: ## run the tests with the lowest versions that pyproject.toml allows
	tools/make-venv.sh $(VENV)-lowest $(PYTHON)
	sed -n 's/^  "\([a-z-]*\)>=\([0-9.]*\)",.*/\1==\2/p' pyproject.toml > $(VENV)-lowest/lowest.txt
	cat $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --disable-pip-version-check --only-binary :all: \
	    --requirement $(VENV)-lowest/lowest.txt hatchling editables hypothesis pytest pytest-xdist scikit-image
	$(VENV)-lowest/bin/python -m pip install --no-deps --no-build-isolation --editable .
	$(VENV)-lowest/bin/python -m pytest $(PARALLEL) -o filterwarnings=default $(ARGS)
	rm -rf $(VENV)-lowest

lint: $(VENV)/.installed-dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

web: ## build the page that `narrows serve` shows from web/ (needs Node 18 or newer)
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run build

wheel: $(VENV)/.installed-dev ## build dist/narrows-*.whl
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --wheel-dir dist \
	    --build-constraint constraints.txt .

lock: ## write constraints.txt anew from the newest versions
	tools/make-venv.sh $(VENV)-lock $(PYTHON)
	$(VENV)-lock/bin/python -m pip install --upgrade pip
	$(VENV)-lock/bin/python -m pip install $(HELD) . --group dev setuptools hatchling editables
	( echo "# Written by \`make lock\`: every package that Narrows and its tools run with."; \
	  $(VENV)-lock/bin/python -m pip freeze --all --exclude narrows | \
	      sed -E '/^(nvidia-|cuda-|triton)/d; s/\+[a-z0-9.]+$$//' ) > constraints.txt
	rm -rf $(VENV)-lock

clean: ## remove everything that these targets made
	rm -rf $(VENV) $(VENV)-lock $(VENV)-lowest narrows-demo dist build htmlcov .coverage .coverage.* \
	    web/node_modules \
	    .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made anew when what it is made from changes.
$(BIN)/pip: $(INPUTS)
	tools/make-venv.sh $(VENV) $(PYTHON)
	$(PIP_INSTALL) --quiet pip

$(VENV)/.installed: $(BIN)/pip
	$(PIP_INSTALL) --build-constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/pip
	$(PIP_INSTALL) --build-constraint constraints.txt --editable . --group dev
	@touch $@ $(VENV)/.installed
