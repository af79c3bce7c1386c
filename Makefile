# Needs Python 3.11 or newer (with venv and pip) and make. Everything is installed into .venv.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Beside the checkout where it is there at all; users have only the project.
SHARED ?= ../shared

.PHONY: help demo test check conformance bench clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(VENV)/.made: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; say make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --editable '.[mxnet,examples]'
# Its metadata asks for numpy < 2, which Python 3.13 has no wheel of (docs/install.md).
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(PIP) install --no-deps mxnet==1.9.1
	@touch $@

$(VENV)/.tested: $(VENV)/.made
	$(PIP) install --editable '.[test,fast,onnx]'
	@touch $@

demo: $(VENV)/.made  ## the vision example from weights to prediction, on ports of its own
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/mxnet_vision/demo.sh

test: $(VENV)/.tested  ## all tests, the slow ones too
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.tested  ## formatting, lint, types and the walls between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

conformance: $(VENV)/.tested  ## compare with the recorded answers of Multi Model Server, where they are there
	$(BIN)/python tests/conformance.py $(SHARED)/conformance

# The harness only; it installs every server into an environment of its own.
$(VENV)/.benched: $(VENV)/.made
	$(PIP) install --editable '.[bench]'
	@touch $@

bench: $(VENV)/.benched  ## measure beside Multi Model Server (needs wrk and java); BENCH="--rows noop-8" for less
ifdef BENCH
	$(BIN)/python -m tests.benchmarks $(BENCH)
else
	$(BIN)/python -m tests.benchmarks.hops --docs --out build/benchmarks/hops.json
	$(BIN)/python -m tests.benchmarks --rows '*' --docs
endif

clean:  ## remove what the other commands made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache tests/.cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
