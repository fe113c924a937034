# The set-up happens by itself, once: every target that needs it asks for the stamp.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DOCKER ?= docker
BASE_IMAGE ?= python:3.11-slim
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= embedstep:$(VERSION)
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow test-postgres test-image image check fix bench golden clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt .ci/setup
	@.ci/setup $(PYTHON) $(VENV)
	@touch $@

setup: $(STAMP) ## make .venv with everything the other targets need

demo: $(STAMP) ## train on real text and show what it brought (DEMO="--small" for a quick look)
	@$(BIN)/python -m pipelines.docstrings.demo $(DEMO)

test: $(STAMP) ## run the tests, all but the slow ones
	@$(BIN)/pytest --numprocesses=auto --maxprocesses=4 -m "not slow and not image" $(TESTS)

test-slow: $(STAMP) ## run the slow tests: whole runs and gates beside real servers
	@$(BIN)/pytest --numprocesses=auto --maxprocesses=4 -m slow $(TESTS)

test-postgres: $(STAMP) ## run the tests of tracking and promotion beside MLflow on PostgreSQL
	@.ci/postgres $(BIN)/pytest --numprocesses=2 tests/tracking tests/promotion

test-image: $(STAMP) ## run the tests of the image, in real containers; after `make image`
	@$(BIN)/pytest -m image $(TESTS)

image: ## build the image of the components (BASE_IMAGE=..., IMAGE=..., IMAGE_OPTIONS=... for docker)
	@DOCKER_BUILDKIT=1 $(DOCKER) build --file components/train_embedder/Dockerfile $(IMAGE_OPTIONS) \
	    --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

check: $(STAMP) ## lint, format and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

fix: $(STAMP) ## repair what the linter can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMP) ## measure ours beside the alternative (NAME=... for one); writes build/bench.json
	@$(BIN)/python -m tests.benchmarks $(NAME)

golden: $(STAMP) ## rewrite the golden files, for a review of their difference
	@EMBEDSTEP_GOLDEN=rewrite $(BIN)/pytest -q -k golden

clean: ## remove what the targets have made
	rm -rf $(VENV) build outputs mlflow.db mlartifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
