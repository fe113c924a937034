# The set-up happens by itself, once: every target that needs it asks for the stamp.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
AIRFLOW := .venv-airflow
DOCKER ?= docker
BASE_IMAGE ?= python:3.11-slim
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/embedstep/__init__.py)
IMAGE ?= embedstep:$(VERSION)
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export ZENML_ANALYTICS_OPT_IN := false
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow test-gpu coverage faults test-postgres test-image test-airflow test-kubernetes airflow image dist check fix bench bench-gpu golden clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt .ci/setup
	@.ci/setup $(PYTHON) $(VENV)
	@touch $@

setup: $(STAMP) ## make .venv with everything the other targets need

demo: $(STAMP) ## train on real text and show the gain (DEMO="--small" for a quick look)
	@$(BIN)/python -m pipelines.docstrings.demo $(DEMO)

# One thread in each of the processes that share the cores: those of torch wait for each other otherwise.
test test-slow faults coverage: export OMP_NUM_THREADS := 1

# What these tests expect is that of a machine without a GPU; tests/gpu has the others.
test test-slow faults coverage test-postgres: export CUDA_VISIBLE_DEVICES :=

# A third of the tests wait for processes or clocks, so that more of them run than there are cores.
PARALLEL := --numprocesses=4 --dist=worksteal

FAST := -m "not slow and not image and not kubernetes and not airflow and not gpu"

test: $(STAMP) ## run the tests, all but the slow ones
	@$(BIN)/pytest $(PARALLEL) --durations=10 $(FAST) $(TESTS)

test-slow: $(STAMP) ## run the slow tests: whole runs, and gates with real servers
	@$(BIN)/pytest $(PARALLEL) --durations=10 -m slow $(TESTS)

test-gpu: $(STAMP) ## run the tests on a GPU; without one they are skipped, with the reason
	@$(BIN)/pytest -m gpu $(or $(TESTS),tests/gpu)

coverage: $(STAMP) ## measure the branches of src that the fast tests reach (or TESTS=...), and show the others
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run -m pytest $(PARALLEL) --timeout=900 $(FAST) $(TESTS) || echo "some tests failed; what they reached counts"
	@$(BIN)/python -m tests.coverage_files build/coverage
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report --sort=cover

faults: $(STAMP) ## inject faults, show the outcomes, and write build/faults.json
	@$(BIN)/pytest --numprocesses=2 tests/faults

test-postgres: $(STAMP) ## run the tests of queries, and of tracking and promotion with MLflow, on PostgreSQL
	@.ci/postgres $(BIN)/pytest --numprocesses=2 tests/tracking tests/promotion tests/data/test_databases.py

test-image: $(STAMP) ## run the tests of the image, in real containers; after `make image`
	@$(BIN)/pytest -m image $(TESTS)

$(AIRFLOW)/.ready: pyproject.toml constraints-airflow.txt
	@echo "setting up $(AIRFLOW) (once; a minute)"
	@[ -x $(AIRFLOW)/bin/python ] || $(PYTHON) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[airflow]' -c constraints-airflow.txt
	@touch $@

airflow: $(AIRFLOW)/.ready ## make an environment with Airflow, whose pins are others

test-airflow: $(STAMP) $(AIRFLOW)/.ready ## run the tests of the DAG on a real Airflow, in an environment of its own
	@EMBEDSTEP_AIRFLOW=$(AIRFLOW)/bin/python $(BIN)/pytest -m airflow $(TESTS)

test-kubernetes: $(STAMP) $(AIRFLOW)/.ready ## run the tests of pods on a Kubernetes of their own; after `make image`
	@EMBEDSTEP_AIRFLOW=$(AIRFLOW)/bin/python .ci/kubernetes $(BIN)/pytest -m kubernetes $(TESTS)

image: ## build the image of the components (BASE_IMAGE=..., IMAGE=..., IMAGE_OPTIONS=... for docker)
	@DOCKER_BUILDKIT=1 $(DOCKER) build --file components/train_embedder/Dockerfile $(IMAGE_OPTIONS) \
	    --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

dist: $(STAMP) ## build the sdist and the wheel in build/dist
	@.ci/dist $(BIN)/python build/dist

check: $(STAMP) ## lint, format and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

fix: $(STAMP) ## fix what the linter can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMP) ## compare embedstep with the alternatives (NAME=... for one), and write build/bench.json
	@$(BIN)/python -m tests.benchmarks $(NAME)

bench-gpu: $(STAMP) ## compare samples/s on a GPU with a plain script (NAME=... for one), and write build/bench_gpu.json
	@$(BIN)/python -m tests.benchmarks.gpu $(NAME)

golden: $(STAMP) ## rewrite the golden files, for a review of their difference
	@EMBEDSTEP_GOLDEN=rewrite $(BIN)/pytest -q -k golden

clean: ## remove what the targets have made
	rm -rf $(VENV) $(AIRFLOW) build outputs mlflow.db mlartifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
