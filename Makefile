# `make` or `make help` says what there is.

BIN := .venv/bin
ARGS ?=
# Tests wait for a part of their time: for other processes, and for the disk.
WORKERS = $(shell expr 3 \* $$(nproc) / 2)

.DEFAULT_GOAL := help
.PHONY: help run one two law test check bench soak format docs coverage clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/run.stamp ## run a server on http://localhost:8008 with its data in ./data
	@exec $(BIN)/isthmus run $(ARGS)

one: .venv/run.stamp ## run the first of two servers that federate: localhost:8448, for clients on http://localhost:8018
	@$(call neighbour,one,8448,8018)

two: .venv/run.stamp ## run the second: localhost:8449, for clients on http://localhost:8019
	@$(call neighbour,two,8449,8019)

law: .venv/dev.stamp ## test the law, and that its tests reach every branch
	@$(BIN)/pytest -q -n 2 tests/core --cov=federation.core --cov-branch --cov-report=term:skip-covered --cov-fail-under=100

test: .venv/dev.stamp $(if $(ARGS),,law) ## run all tests; ARGS="-k receipts" runs some
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal --ignore=tests/core $(ARGS)

check: .venv/dev.stamp ## look at format, style, types, imports and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p homeserver -p federation -p tools -p benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m tools.generate --check

bench: .venv/dev.stamp ## measure what the server costs; ARGS="--with-synapse" beside Synapse, ARGS="--help" says more
	@$(BIN)/python -m benchmarks $(ARGS)

soak: .venv/dev.stamp ## load a server and watch its memory; ARGS=30 for half an hour
	@$(BIN)/python -m benchmarks soak --minutes $(or $(ARGS),10)

format: .venv/dev.stamp ## format the code and sort its imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev.stamp ## write the files that are made from others
	$(BIN)/python -m tools.generate

coverage: .venv/dev.stamp ## refresh docs/spec-coverage.toml from the routes
	$(BIN)/python -m tools.coverage_page refresh
	$(BIN)/python -m tools.generate

# Two servers on one machine, with certificates of an authority that they share.
define neighbour
	[ -e data/$(1)/homeserver.toml ] || $(BIN)/isthmus init --server-name localhost:$(2) --data data/$(1) --port $(3) --authority data/authority; \
	exec $(BIN)/isthmus run --config data/$(1)/homeserver.toml $(ARGS)
endef

clean: ## remove the environment and what tools left; ./data stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# The environment is made once, and mended when pyproject.toml changes.
.venv/run.stamp: pyproject.toml tools/venv.sh
	@tools/venv.sh .
	@touch $@

.venv/dev.stamp: pyproject.toml tools/venv.sh
	@tools/venv.sh '.[dev]'
	@touch .venv/run.stamp $@
