# Every target sets up what it needs first; `make` alone lists them.
SHELL := /bin/sh
BIN := .venv/bin
READY := .venv/envlock-ready
PODS := .venv/pods/images-are-made
SERVERS := .venv/azurite/node_modules/.installed
REGISTRY := .venv/registry/.installed
BROWSER := .venv/browser-is-there

.DEFAULT_GOAL := help
.PHONY: help setup setup-pods test test-fast test-slow test-stampede test-remote test-schedulers test-core coverage demo demo-team demo-ways demo-daily demo-remote lint format bench docs docs-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) $(SERVERS) $(REGISTRY)  ## make .venv with envlock, Metaflow and the development tools

$(READY): pyproject.toml scripts/setup.sh
	@scripts/setup.sh

$(SERVERS): tests/servers/azurite/package-lock.json | $(READY)
	@scripts/setup.sh --servers

$(REGISTRY): | $(READY)
	@scripts/setup.sh --registry

setup-pods: $(PODS)  ## unpack docker below .venv, and make images: for `make test-remote`; needs root and apt

$(PODS): scripts/setup.sh tests/pods/docker.py tests/pods/pod.py | $(READY)
	@scripts/setup.sh --pods

test: $(READY) $(SERVERS) $(REGISTRY)  ## lint, types, import contracts, and every test that is not slow
	@scripts/test.sh

test-fast: $(READY)  ## what needs no server and starts no process: under 90 s on two cores
	@unset PYTHONDONTWRITEBYTECODE; $(BIN)/python -m pytest -q -n auto --dist worksteal -m fast

$(BROWSER): | $(READY)
	@scripts/setup.sh --browser

# Where hypothesis finds examples: `make test` looks for thirty.
PROPERTIES := tests/property tests/config tests/model tests/named/test_pin.py tests/cli/test_diff.py

test-slow: $(READY) $(SERVERS) $(REGISTRY) $(BROWSER)  ## the few tests that `make test` leaves out because they take minutes, and many more examples of properties
	@$(BIN)/python -m pytest -q -n auto -m slow
	@$(BIN)/python -m pytest -q -n auto --hypothesis-profile thorough $(PROPERTIES)

test-stampede: $(READY)  ## of those, only the 200 tasks that start from a busy store: five minutes
	@$(BIN)/python -m pytest -q -m slow tests/node/test_stampede.py

test-remote: $(READY) $(PODS)  ## run the flows on all backends, in folders and in docker's containers
	@$(BIN)/python -m pytest -q -m slow tests/pods tests/flows/remote

test-schedulers: $(READY)  ## run a locked flow on Prefect, Dagster, Temporal, Flyte and Kestra's scripts, each in a venv of its own
	@$(BIN)/python -m pytest -q -m slow tests/schedulers

test-core: $(READY)  ## run Metaflow's own core test suite in locked environments; SUITE="--on step-functions" there
	@$(BIN)/python -m tests.schedulers.core_suite $(SUITE)

coverage: $(READY) $(SERVERS) $(REGISTRY)  ## run every test and show which lines none of them reached
	@$(BIN)/coverage erase
	@unset PYTHONDONTWRITEBYTECODE; $(BIN)/coverage run -m pytest -q -n auto --dist worksteal || true  # measuring fails tests of start-up
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

demo: $(READY)  ## lock, check and push examples/quickstart, then run its flow
	@$(BIN)/python scripts/demo.py

demo-team: $(READY) $(SERVERS)  ## two people share environments through a bucket: S3's, then Google's and Azure's language
	@for server in moto gcs azurite; do $(BIN)/python scripts/demo_team.py --on $$server || exit 1; done

demo-ways: $(READY)  ## move in from requirements.txt, environment.yml, uv.lock, a monorepo and decorators, and out again
	@$(BIN)/python scripts/demo_ways.py

demo-daily: $(READY)  ## an upgrade, its diff and comment, a kernel, freeing space, a team's settings, a card
	@$(BIN)/python scripts/demo_daily.py

demo-remote: $(READY)  ## packs, an image, and steps in pods, by Batch, Step Functions, Argo and Kubernetes; in containers after `make setup-pods`
	@$(BIN)/python scripts/demo_remote.py

lint: $(READY)  ## lint, types and import contracts alone
	@scripts/test.sh --lint-only

format: $(READY)  ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(READY)  ## measure envlock against what it rests on, and against its peers
	@$(BIN)/python -m benchmarks --write

docs: $(READY)  ## build the documentation as a site, and check its links
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@! grep -rlE '<(script|img|iframe)[^>]* src="?https?:|<link[^>]* rel="?stylesheet[^>]* href="?https?:' build/site || \
		{ echo "docs: these pages load something from elsewhere" >&2; exit 1; }
	@echo "docs: build/site is ready; to read it: $(BIN)/python -m http.server --directory build/site"

docs-check: $(READY)  ## hold the documentation to the code
	@$(BIN)/python scripts/error_index.py
	@$(BIN)/python scripts/reference_pages.py
	@$(BIN)/python scripts/package_program.py
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_errors.py

clean:  ## delete .venv and everything that was made
	@rm -rf .venv .coverage* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -rf examples/*/envlock.lock examples/*/*/envlock.lock examples/*/envlock-cache examples/*/.metaflow src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
