# make demo | make test | make lint | make bench   each does all the set-up itself, once.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?=
VIDEO ?=
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
IN_ENV := . scripts/env.sh && export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST &&

.PHONY: help setup demo test lint bench clean
help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## Set up .venv (ROS 2, torch, tools) and build the package; seconds when up to date
	@PYTHON='$(PYTHON)' scripts/setup.sh

demo: setup ## Run camera and perception as real ROS 2 nodes on rendered people; VIDEO=path or camera index
	@$(IN_ENV) python -m mtl_perception.ros.demo $(if $(VIDEO),--video '$(VIDEO)') $(DEMO_ARGS)

test: setup ## Run all tests
	@$(IN_ENV) MTL_REQUIRE_ROS=1 python -m pytest $(TEST_ARGS)

lint: setup ## Check format, style and types
	@$(IN_ENV) ruff format --check . && ruff check . && mypy

bench: setup ## Measure everything, as ratios side by side; results as JSON in out/bench
	@$(IN_ENV) python -m benchmarks $(BENCH_ARGS)

clean: ## Remove what setup, build and runs made
	rm -rf .venv build install log out
