# Every target builds the environment by itself; nothing but Python 3.11 to 3.13 with pip is assumed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?= data
RUN ?= runs/mnist
WORKERS ?= 2
export GAN_JAX_DATA_DIR := $(abspath $(DATA_DIR))

.DEFAULT_GOAL := help
.PHONY: help setup train test check test-slow bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is written last, so an interrupted installation is begun again; it goes stale with pyproject.toml.
$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"gan_jax needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: name another, make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

setup: $(VENV)/.stamp  ## build the environment in .venv
