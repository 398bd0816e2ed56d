# Every target first builds the environment, which needs Python 3.11 to 3.13 with venv.
PYTHON ?= python3
VENV ?= .venv
DATA_DIR ?= $(or $(GAN_JAX_DATA_DIR),data)
PRESET ?= mnist
RUN ?= runs/$(PRESET)
EXTRAS ?= dev
ARGS ?=

BIN := $(VENV)/bin
export GAN_JAX_DATA_DIR := $(DATA_DIR)

.DEFAULT_GOAL := help
.PHONY: help setup train quick test test-slow browser check docs bench bench-referee clean

help:
	@echo 'make train      train on MNIST in ten minutes, with samples, scores and a verdict (PRESET=fashion_mnist, RUN=, ARGS=)'
	@echo 'make quick      the fast tests of pure functions, to run after every edit: about two minutes'
	@echo 'make test       the tests: ten to twenty minutes on two cores'
	@echo 'make test-slow  tests of killed processes, faults and many device layouts: almost an hour'
	@echo 'make check      ruff and mypy'
	@echo 'make docs       the documentation as a site, in site/'
	@echo 'make bench      measure speed, beside alternative implementations'
	@echo 'make bench-referee  measure verdicts on planted cases, perfect samplers and forks of real runs (hours; resumes)'
	@echo 'make setup      build only the environment, in $(VENV) (EXTRAS=dev,cuda for GPUs, dev,tpu for TPUs)'
	@echo 'make clean      remove the environment and caches; runs and data stay'

# Touched last: an interrupted installation or a changed pyproject.toml is installed again.
$(VENV)/.stamp: pyproject.toml
	@"$(PYTHON)" -c 'import sys, venv; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"error: gan_jax needs Python 3.11 to 3.13, and PYTHON=$(PYTHON) is {v[0]}.{v[1]}; name another")'
	@echo 'building the environment in $(VENV) (about a minute)'
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

setup: $(VENV)/.stamp

train: setup
	$(BIN)/python -m experiments.train --flagfile=experiments/presets/$(PRESET).flags --run="$(RUN)" $(ARGS)
	$(BIN)/python -m experiments.evaluate --run="$(RUN)"
	$(BIN)/python -m experiments.referee --run="$(RUN)"

# Some tests render a run's report in Chromium or Chrome. Installs Chromium as root on Debian or Ubuntu;
# otherwise these tests are skipped.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name >/dev/null && exit 0; done; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0; \
	echo 'installing Chromium, to test the report of a run'; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ timeout 60 apt-get update && timeout 300 apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 \
	|| echo 'Chromium could not be installed: these tests will be skipped'

# Tests of pure functions, settings and the architecture; no scripts and no training runs.
QUICK := tests/test_architecture.py tests/test_walkthrough.py tests/config tests/metrics \
	$(addprefix tests/gan/test_,$(addsuffix .py,losses latents optimizers penalties weight_constraints \
	update_ratio gan networks_refusals)) \
	tests/diagnosis/test_alarms.py tests/diagnosis/test_verdict_rules.py \
	$(addprefix tests/sweep/test_,$(addsuffix .py,search_space significance results_table progress_table)) \
	tests/data/test_shuffle.py tests/data/test_device_batches.py tests/evaluation/test_compare_runs.py \
	tests/training/test_checkpoint_integrity.py tests/distributed/test_chip_specs.py

quick: setup
	$(BIN)/python -m pytest -q -n 2 --dist=loadfile $(QUICK)

test: setup browser
	$(BIN)/python -m experiments.prepare_data --dataset=mnist
	$(BIN)/python -m pytest -n 2 --dist=loadfile --durations=15

test-slow: setup
	$(BIN)/python -m experiments.prepare_data --dataset=mnist
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the documentation is in site/; open site/index.html, or: $(BIN)/mkdocs serve"

bench: setup
	$(BIN)/python -m experiments.bench
	$(BIN)/python -m experiments.bench_sweep

bench-referee: setup
	$(BIN)/python -m experiments.prepare_data --dataset=mnist
	$(BIN)/python -m experiments.prepare_data --dataset=fashion_mnist
	$(BIN)/python -m experiments.bench_referee
	$(BIN)/python -m experiments.bench_referee --part=perfect --seeds=6
	$(BIN)/python -m experiments.bench_interventions
	$(BIN)/python -m experiments.bench_verdicts

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
