# Everything a developer runs. `make help` lists it.
SHELL := /bin/bash
# The system's own before any other on the PATH: distributions build theirs with profile-guided optimization, version
# managers often do not, and then everything takes a tenth to a quarter longer.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
POLICY := $(VENV)/policy/.done
# The lock files list every package with its hashes, so pip has nothing left to resolve.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
UV_COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
	--custom-compile-command "make requirements"

.DEFAULT_GOAL := help
.PHONY: help run faucet test demo bench capacity lint format openapi migration ledger-check build sam-local requirements clean

help: ## List these targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.13 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made (Debian: apt-get install python3-venv)."; exit 1; }

$(VENV)/.%: requirements/%.txt | $(BIN)/python
	@echo "Installing requirements/$*.txt ..."
	@$(INSTALL) -r $<
	@touch $@

run: $(VENV)/.local ## Serve the whole API on http://127.0.0.1:8000 (BITCOIN=regtest: take payments on a node of your own).
	@exec $(BIN)/python -m local

faucet: $(VENV)/.local ## Pay an address on that node and mine (ADDRESS=bcrt1... AMOUNT=150000, in satoshis, or 0.0015BTC; BLOCKS=1).
	@exec $(BIN)/python -m local.regtest $(ADDRESS) $(AMOUNT) --blocks $(or $(BLOCKS),1)

demo: $(VENV)/.local $(VENV)/.demo ## A real language model answers jobs, free and paid; receipts and sums are checked.
	@PYTHONPATH=layers/shared exec $(BIN)/python -m local.demo

test: $(VENV)/.dev ## Run all tests that this machine can run.
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --no-loadscope-reorder $(ARGS)

# What the queue is measured beside is installed only when it is.
bench: $(VENV)/.local $(if $(filter rivals all,$(ARGS)),$(VENV)/.bench) ## Measure what is promised (ARGS="claims", "all", "--help").
	@PYTHONPATH=layers/shared:functions exec $(BIN)/python -m tests.bench $(ARGS)

capacity: $(VENV)/.local ## What a million jobs cost on AWS, and where the limits lie, by the figures of the benches.
	@PYTHONPATH=layers/shared $(BIN)/python -m tests.bench.capacity $(ARGS)

# Checkov wants other versions of much that is installed here, so it has an environment of its own.
$(POLICY): requirements/policy.txt | $(BIN)/python
	@echo "Installing requirements/policy.txt ..."
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

lint: $(VENV)/.dev $(POLICY) ## Check style, types, imports and the template.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=layers/shared:functions:. $(BIN)/lint-imports
	$(BIN)/cfn-lint template.yaml
	$(dir $(POLICY))bin/checkov --config-file .checkov.yaml

format: $(VENV)/.dev ## Format the code and mend what ruff can mend.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: $(VENV)/.local ## Write the OpenAPI document that the public function serves.
	@PYTHONPATH=layers/shared:functions DATABASE_URL=sqlite:///never-opened.db \
		SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') \
		$(BIN)/python -m public.document

migration: $(VENV)/.local ## Draft a migration from the tables: make migration MESSAGE="add wallets".
	@test -n "$(MESSAGE)" || { echo 'Say what it does: make migration MESSAGE="add wallets"'; exit 2; }
	@PYTHONPATH=layers/shared:functions $(BIN)/python -m coordinator.migrations.draft "$(MESSAGE)"

ledger-check: $(VENV)/.local ## Prove the ledger of DATABASE_URL, else of the emulator's own database.
	@PYTHONPATH=layers/shared DATABASE_URL=$${DATABASE_URL:-sqlite:///$${LOCAL_VOLUME:-.local}/coordinator.db} \
		$(BIN)/python -m coordinator.ledger.check

build: $(VENV)/.dev ## Build what would be deployed, into .aws-sam/build (wants a Python 3.13; ARCHITECTURE=arm64 for Graviton).
	@$(BIN)/python -m tests.sam.build .aws-sam/build

sam-local: $(VENV)/.dev ## Serve what would be deployed by SAM CLI, in containers (docs/sam-local.md).
	@exec $(BIN)/python -m tests.sam.sam_local

requirements: $(VENV)/.dev ## Pin the newest versions again (ARGS="--upgrade" or --upgrade-package NAME).
	$(UV_COMPILE) $(ARGS) requirements/dev.in -o requirements/dev.txt
	$(UV_COMPILE) $(ARGS) requirements/policy.in -o requirements/policy.txt
	$(UV_COMPILE) $(ARGS) requirements/local.in -c requirements/dev.txt -o requirements/local.txt
	$(UV_COMPILE) $(ARGS) requirements/demo.in -c requirements/dev.txt -o requirements/demo.txt
	$(UV_COMPILE) $(ARGS) requirements/bench.in -c requirements/dev.txt -o requirements/bench.txt
	$(UV_COMPILE) $(ARGS) requirements/layer.in -c requirements/dev.txt -o layers/shared/requirements.txt
	$(UV_COMPILE) $(ARGS) requirements/lambda.in -c requirements/dev.txt -o requirements/lambda.txt
	$(UV_COMPILE) $(ARGS) requirements/migrate.in -c requirements/dev.txt -o functions/migrate/requirements.txt
	$(UV_COMPILE) $(ARGS) requirements/users.in -c requirements/dev.txt -o functions/users/requirements.txt
	$(UV_COMPILE) $(ARGS) requirements/exchange.in -c requirements/dev.txt -o functions/exchange/requirements.txt

clean: ## Remove what was installed, built and measured; the volume .local stays.
	rm -rf $(VENV) .aws-sam build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
