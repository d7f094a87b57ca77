# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up. Needs: Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FORGE = $(firstword $(wildcard node_modules/@foundry-rs/forge-*/bin/forge))
SETUP := $(VENV)/.installed
TOOLCHAIN := node_modules/.installed
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
SITE := $(VENV)/.installed-docs
RELEASE := $(VENV)/.installed-release
LOCK := deploy/lock
PIP := $(BIN)/python tools/pip_install.py

# The packages are those of deploy/lock, by hash, which the tests passed with; torch is a range (tools/lock.py says why).
# LOCKED=0: the newest releases that pyproject.toml admits, as a user's `pip install` takes them.
LOCKED ?= 1
DIAGRAMS := tools/site/node_modules/.installed
CONSOLE := console/node_modules/.installed
NODE = $(shell $(BIN)/python -c 'from tools.node_toolchain import node_binary; print(node_binary())')

TESTS := $(BIN)/python tools/run_tests.py

# How many tests run side by side; those of a file share servers, so a file stays together. 0: one after the other.
WORKERS ?= 2
# In the order of tests/conftest.py: what takes long first. xdist would begin with the files of most tests.
SHARED := --dist loadfile --no-loadscope-reorder
# Stories and long tests wait for processes that they start, for blocks and for Flower: one more uses the cores better.
MORE_WORKERS ?= $(if $(filter 0,$(WORKERS)),0,$(shell expr $(WORKERS) + 1))

.DEFAULT_GOAL := help
.PHONY: help install lock demo up test test-all test-python test-long test-uncovered test-stories test-properties test-hardhat test-contracts fuzz-contracts fuzz-judges coverage attack chaos mutants check fix lint types contracts-check slither prove gas abi console bench bench-robustness privacy-report dist docs clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set-up

install: $(SETUP) $(TOOLCHAIN) $(CONSOLE) ## Install everything into .venv and node_modules

# pip, not uv: the plain client of a plain venv is what everybody has. The bootstrap refuses an old Python by name.
$(SETUP): pyproject.toml lab/pyproject.toml $(LOCK)/everything.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Folkmoot needs Python 3.11 or newer, and $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Python packages (about two minutes the first time; pip's output goes to $(VENV)/install.log) ..."
	@$(PIP) --upgrade 'pip>=25.1'
ifeq ($(LOCKED),1)
	@$(PIP) --require-hashes --requirement $(LOCK)/everything.txt
endif
	@$(PIP) --editable '.[all]' --editable ./lab --group dev
	@touch $@

$(TOOLCHAIN): $(SETUP) package.json package-lock.json tools/node_toolchain.py
	@echo "Installing the Solidity toolchain ..."
	@$(BIN)/python tools/node_toolchain.py
	@touch $@

$(SITE): $(SETUP) $(LOCK)/docs.txt
	@echo "Installing MkDocs ..."
	@$(PIP) --require-hashes --requirement $(LOCK)/docs.txt
	@touch $@

$(RELEASE): $(SETUP) $(LOCK)/release.txt
	@$(PIP) --require-hashes --requirement $(LOCK)/release.txt
	@touch $@

$(DIAGRAMS): $(SETUP) tools/site/package.json tools/site/package-lock.json
	@echo "Installing Mermaid ..."
	@$(BIN)/python tools/node_toolchain.py tools/site
	@touch $@

$(CONSOLE): $(SETUP) console/package.json console/package-lock.json tools/node_toolchain.py
	@$(BIN)/python tools/node_toolchain.py console
	@touch $@

lock: install ## Write deploy/lock after a change of pyproject.toml; with the newest releases: make lock ARGS=--upgrade
	@$(BIN)/python tools/lock.py $(ARGS)

##@ Run

demo: install ## Everything from nothing: strangers train, a poisoner loses, a vote releases, an audit recomputes
	@$(BIN)/folkmoot demo $(ARGS)

up: install ## A local federation that stays up
	@$(BIN)/folkmoot up $(ARGS)

##@ Test

test: test-python test-contracts ## The tests: functions, contracts, commands on one chain

test-all: check test-uncovered coverage test-stories test-contracts contracts-check ## What CI runs: checks, `make test` with coverage, stories in real processes, gas, slither

# A set writes what passed, and at which commit, to .pytest_cache/passed.
test-long: install ## What `make test-all` leaves out; before a release, whole or in parts: make test-long SHARD=2/6
	@$(TESTS) long -n $(MORE_WORKERS) $(SHARED) -m "long and not story" $(if $(SHARD),--shard $(SHARD)) $(ARGS)
	@$(if $(filter 1/%,$(or $(SHARD),1/1)),$(MAKE) --no-print-directory fuzz-contracts test-hardhat)

QUICK := -m "not story and not long"

test-python: install
	@$(TESTS) quick -n $(WORKERS) $(SHARED) $(QUICK) $(ARGS)

# Those of `make test` that `coverage` does not run.
test-uncovered: install
	@$(TESTS) uncovered -n $(WORKERS) $(SHARED) $(QUICK) $(COVERED_TESTS:%=--ignore=%) $(ARGS)

test-stories: install ## Stories from start to end, with real Flower, chains, databases
	@$(TESTS) stories -n $(MORE_WORKERS) $(SHARED) -m story $(ARGS)

test-properties: install ## The property tests, with new random examples each time
	@$(BIN)/python -m pytest -n $(WORKERS) $(SHARED) -m hypothesis --hypothesis-profile fresh $(ARGS)

# Those that need no method of Anvil's own and no coordinator that lies, which is for Anvil alone.
ON_HARDHAT := audit chain_client chain_deploy coordinator_lineage coordinator_restore coordinator_round early_close \
	governance_cli stragglers

test-hardhat: install ## Integration tests and a whole demo on Hardhat's EVM, a second implementation, in the place of Anvil
	@$(BIN)/python tools/node_toolchain.py tests/hardhat
	@FOLKMOOT_TEST_CHAIN=hardhat $(BIN)/python -m pytest $(QUICK) $(ON_HARDHAT:%=tests/integration/test_%.py) $(ARGS)
	@FOLKMOOT_TEST_CHAIN=hardhat $(BIN)/python -m pytest -m long tests/e2e/test_demo_hardhat.py $(ARGS)

test-contracts: install ## Unit, fuzz and invariant tests of the contracts
	@cd contracts && ../$(FORGE) test

fuzz-contracts: install ## The same tests, with the larger numbers of runs of the profile `ci` in foundry.toml
	@cd contracts && FOUNDRY_PROFILE=ci ../$(FORGE) test

JUDGES := test/{FraudProofs*,GramProofs,ContributorFaults,DataAvailability,libraries/*}.t.sol

fuzz-judges: install ## The fuzz tests of judges and libraries with 100,000 runs each (hours)
	@cd contracts && FOUNDRY_PROFILE=weekly ../$(FORGE) test --match-path '$(JUDGES)' --match-test testFuzz

# The tests of the pure modules, and those that send fraud proofs to contracts. The whole suite under coverage takes a
# fifth longer, and starts processes that are not measured. Each gate is what was measured, rounded down.
COVERED_TESTS := tests/unit/protocol tests/unit/aggregation tests/unit/fraud tests/unit/audit tests/unit/test_round.py \
	tests/unit/test_vectors.py tests/unit/test_decoders.py tests/integration/test_answers.py tests/integration/test_watch.py \
	tests/integration/test_watch_rules.py

coverage: install ## Python lines and branches of protocol, aggregation and fraud proofs that the tests reach
	@$(TESTS) covered -n $(WORKERS) $(SHARED) $(QUICK) --cov --cov-report= $(COVERED_TESTS)
	@$(BIN)/coverage report --include='folkmoot/protocol/*,folkmoot/aggregation/*,folkmoot/round.py' --fail-under=99
	@$(BIN)/coverage report --include='folkmoot/fraud/proofs/*' --fail-under=93

attack: install ## Run hostile training code in the sandbox and through a real node, and show that it gets nothing
	@$(BIN)/python -m pytest tests/unit/sandbox tests/e2e/test_flower_attack.py $(ARGS)

attack-compose: install ## Attack the running stack of the compose file from inside its containers (needs Docker)
	@$(BIN)/python -m tests.compose.attack $(ARGS)

chaos: install ## Kill the coordinator everywhere, reorganise and cut off its chain, and compare with a run without harm
	@$(BIN)/python -m tests.chaos $(ARGS)

mutants: install ## Put back each fault of tests/mutants.toml in a copy, one at a time: its test must fail (15 minutes)
	@$(BIN)/python -m tools.mutants $(ARGS)

##@ Check

check: lint types ## Formats, lint, types, dependency directions

fix: install ## Format and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@cd contracts && ../$(FORGE) fmt

lint: install
	@$(BIN)/ruff check . || (echo "Remedy: make fix" && exit 1)
	@$(BIN)/ruff format --check . || (echo "Remedy: make fix" && exit 1)
	@$(BIN)/lint-imports --no-cache
	@git ls-files -z | xargs -0 $(BIN)/codespell || (echo "Remedy: $(BIN)/codespell --write-changes FILE, or ignore-words-list in pyproject.toml" && exit 1)
	@$(BIN)/python tools/check_words.py
	@$(BIN)/python tools/line_budget.py
	@$(BIN)/python tools/command_budget.py
	@$(BIN)/python tools/lock.py --check
	@$(BIN)/python tools/contract_cases.py --check
	@$(BIN)/python tools/economics_table.py --check
	@cd contracts && ../$(FORGE) fmt --check || (echo "Remedy: make fix" && exit 1)

types: install
	@$(BIN)/mypy
	@$(NODE) console/node_modules/typescript/bin/tsc --project console
	@$(NODE) console/build.mjs --check

contracts-check: install ## Gas and storage snapshots, coverage, packaged ABIs, slither
	@cd contracts && FORGE_SNAPSHOT_CHECK=true ../$(FORGE) test --match-path 'test/gas/*' || (echo "Remedy: if the change is meant, make gas and commit contracts/snapshots" && exit 1)
	@$(BIN)/python tools/compile_contracts.py --check
	@$(BIN)/python tools/generate_contracts.py --check
	@$(BIN)/python tools/check_storage.py
	@$(BIN)/python tools/gas_table.py --check
	@$(BIN)/python tools/check_coverage.py
	@$(MAKE) --no-print-directory slither

prove: install ## Prove packed sums and the vault's accounts for all inputs, with halmos (eight minutes)
	@$(BIN)/python tools/prove.py

slither: install
	@cd contracts && PATH="$(CURDIR)/$(dir $(FORGE)):$(CURDIR)/bin:$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/slither .

gas: install ## Write the gas snapshots and docs/gas.md anew
	@cd contracts && ../$(FORGE) test --match-path 'test/gas/*'
	@$(BIN)/python tools/gas_table.py

abi: install ## Compile the contracts and write the packaged ABIs, the bytecode and the records of events
	@$(BIN)/python tools/compile_contracts.py
	@$(BIN)/python tools/generate_contracts.py

console: install ## Build the page and the command that check a round (folkmoot/web/check.*) from console/
	@$(NODE) console/build.mjs

bench: install ## Speed of codec, hashing and aggregation beside memcpy and sha256
	@$(BIN)/python -m benchmarks $(ARGS)

bench-robustness: install ## Our rules beside Flower's and byzfl's own code, under attack (hours; goes on where it was)
	@$(PIP) --editable '.[bench]'
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.robustness $(ARGS)

privacy-report: install ## Attack the updates of shipped tasks, and write docs/privacy-report.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.privacy_report $(ARGS)

dist: install $(RELEASE) ## Build what a release has, into dist: wheels, sdists, contracts, vectors, SBOMs and their digests
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist .
	@$(BIN)/python -m build --outdir dist lab
	@! $(BIN)/python -m zipfile --list dist/folkmoot-$(VERSION)-py3-none-any.whl | grep -E '^(lab|folkmoot_lab|benchmarks|tests|tools)/' || \
		(echo "The wheel of folkmoot has files of the laboratory. Remedy: correct [tool.hatch.build] in pyproject.toml" && exit 1)
	@git archive --prefix=folkmoot-contracts-$(VERSION)/ --output=dist/folkmoot-contracts-$(VERSION).tar.gz HEAD \
		LICENSE contracts/src contracts/foundry.toml contracts/snapshots/storage folkmoot/ledger/abi
	@git archive --prefix=folkmoot-vectors-$(VERSION)/ --output=dist/folkmoot-vectors-$(VERSION).tar.gz HEAD \
		LICENSE docs/protocol.md docs/protocol tests/vectors
	@for role in node watcher coordinator; do \
		{ cat $(LOCK)/$$role.txt; test $$role != node || echo torch; } | $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml \
			--output-reproducible --output-file dist/folkmoot-$$role-$(VERSION).cdx.json - || exit 1; done
	@cd dist && sha256sum -- *.whl *.tar.gz *.cdx.json > SHA256SUMS && cat SHA256SUMS

docs: $(SITE) $(DIAGRAMS) ## Build the documentation site in site/, or serve it: make docs ARGS=serve
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(or $(ARGS),build --strict)
	@echo "The site is in site/. To look at it: $(BIN)/python -m http.server --directory site"

clean: ## Remove what was built
	@rm -rf $(VENV) .venv-prove node_modules bin dist contracts/out contracts/cache contracts/out-prove contracts/cache-prove .mypy_cache .ruff_cache .pytest_cache .coverage site tools/site/node_modules console/node_modules
