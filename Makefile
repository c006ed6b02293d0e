# Everything that a newcomer types. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Any Python from 3.11 on; it is asked once, when .venv is made.
PYTHON ?= python3
# Passed on to the command of `run`, `demo`, `bench`, `load` and `soak`:  make demo ARGS="--keep-going 3"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
FLAVOUR := $(if $(filter 1,$(SYNCBRIDGE_DEBUG)),debug,release)$(if $(filter 1,$(SYNCBRIDGE_SANITIZE)),-sanitize)
BUILT := $(VENV)/.built-$(FLAVOUR)
SCANNER := build/tls-scan
SOURCES := $(wildcard src tests bench loadtest)

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- the environment: each stamp is touched only after its step is done, so a broken set-up is taken up again ---

.PHONY: setup
setup: $(BUILT) ## make .venv with the locked packages and the built extensions (nothing to do when nothing changed)

$(VENV)/.made:
	@.ci/prerequisites "$(PYTHON)"
	@echo "setup: making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

# The lock is closed (every package with its hash), so pip has nothing to resolve.
$(VENV)/.locked: requirements.lock $(VENV)/.made
	@echo "setup: installing $$(grep -c '^[a-z]' $<) locked packages"
	@$(PIP) install --no-deps --require-hashes --requirement $<
	@$(PIP) check >/dev/null || { $(PIP) check; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml setup.py MANIFEST.in $(VENV)/.locked
	@echo "setup: installing syncbridge, editable, and building its extensions"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.built-*
	@touch $@ $(BUILT)

# The extensions of all flavours lie at the same place: a change of flavour builds them all anew. Installing builds them
# too, so what follows is for a change of `ext` or of flavour alone.
$(BUILT): $(wildcard ext/*) $(VENV)/.installed
	@if [ -e $@ ] && [ -z "$$(find ext $(VENV)/.installed -newer $@)" ]; then exit; fi; \
	  echo "setup: building the extensions ($(FLAVOUR))"; \
	  force=; if compgen -G '$(VENV)/.built-*' >/dev/null && [ ! -e $@ ]; then force=--force; fi; \
	  rm -f $(VENV)/.built-*; mkdir -p build; \
	  $(BIN)/python setup.py --quiet build_ext --inplace $$force >build/extensions.log 2>&1 \
	    || { cat build/extensions.log; exit 1; }; \
	  touch $@

# Its lock contradicts the service's (an older cryptography), so it cannot live in .venv. Only the checks need it. What
# comes as source is built with the setuptools of .venv: every byte that is fetched stands in a lock, with its hash.
$(SCANNER)/.made: tests/tls/requirements.lock $(VENV)/.made
	@echo "setup: making $(SCANNER), the environment of the TLS scanner"
	@rm -rf $(SCANNER)
	@$(BIN)/python -m venv $(SCANNER)
	@$(PIP) wheel --no-deps --no-build-isolation --require-hashes --requirement $< --wheel-dir $(SCANNER)/wheels
	@$(SCANNER)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-index $(SCANNER)/wheels/*.whl
	@touch $@

# Debian's packages: what the checks and the local cluster talk to. Running the service alone needs none of them.
.PHONY: servers
servers: ## install the servers that the checks and `make cluster` start (Redis, PostgreSQL, RabbitMQ, HAProxy)
	@.ci/servers

# --- the service ---

.PHONY: run
run: setup ## start the service on 127.0.0.1:8080, its data in ./data
	@$(BIN)/syncbridge serve $(ARGS)

.PHONY: demo
demo: setup ## carry a recorded session through three devices, handoffs and a crash (about a minute)
	@$(BIN)/syncbridge demo $(ARGS)

.PHONY: cluster
cluster: setup servers ## a whole cluster here until Ctrl-C: Redis, PostgreSQL, RabbitMQ, Vault, two nodes, HAProxy
	@$(BIN)/python -m deploy.local $(ARGS)

# --- the checks ---

.PHONY: test
test: setup $(SCANNER)/.made servers ## run every check
	@tests/run

.PHONY: lint
lint: setup ## ruff: lint and format
	@tests/run lint format

.PHONY: types
types: setup ## mypy --strict
	@tests/run types

.PHONY: fmt
fmt: setup ## format, and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

.PHONY: bench
bench: setup ## run the benchmarks with their gates on (a quiet machine, please)
	@SYNCBRIDGE_BENCH=full $(BIN)/pytest bench -q -p no:xdist $(ARGS)

.PHONY: soak
soak: setup ## five minutes of devices that come and go over TLS: memory, descriptors and tasks stay flat
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: load
load: setup ## locust against a service of its own: headless, bounded, with a report
	@$(BIN)/python -m loadtest $(ARGS)

# Long runs of what the test command tries for a moment:  make fuzz ARGS="-max_total_time=3600"
.PHONY: fuzz
fuzz: setup ## fuzz codec, patch, pointer, merge, handshake and the OpenAPI document (a minute each)
	@$(BIN)/python -m tests.fuzz.long $(ARGS)

# The interpreter is not built with ASan, so its run-time library comes first; CPython's own arenas would hide errors.
.PHONY: sanitize
sanitize: ## run the compiled core's tests under ASan and UBSan
	@$(MAKE) setup SYNCBRIDGE_DEBUG=1 SYNCBRIDGE_SANITIZE=1
	@LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  $(BIN)/pytest tests/twin tests/property -q -p no:xdist --timeout=600 $(ARGS)
	@$(MAKE) setup

.PHONY: nemesis
nemesis: setup servers ## kill, freeze and cut off servers of a cluster under load, as root (two hours; ARGS="--rounds 1")
	@$(BIN)/python -m tests.nemesis $(ARGS)

# --- upkeep ---

# Made with Python 3.11; what only its first releases need is named in pyproject.toml. Hashes of all platforms' files are
# in it; no index, host or path is. The image's two locks are parts of it: what runs there, and what builds it.
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
.PHONY: lock
lock: setup ## resolve requirements.lock anew from pyproject.toml (UPGRADE=--upgrade for the newest)
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and f"the lock is made with Python 3.11, .venv has {v}")'
	@$(COMPILE) $(UPGRADE) --extra cluster --extra otel --extra dev --output-file requirements.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --extra cluster --extra otel --output-file deploy/image.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --build-deps-for wheel --only-build-deps --output-file deploy/build.lock pyproject.toml
	@cd tests/tls && $(CURDIR)/$(COMPILE) $(UPGRADE) --output-file requirements.lock requirements.in
	@$(BIN)/python -c 'import pathlib, re; text = "".join(map(pathlib.Path.read_text, map(pathlib.Path, ["requirements.lock", "deploy/image.lock", "deploy/build.lock", "tests/tls/requirements.lock"]))); hosts = re.findall(r"\w+://\S+", text); assert not hosts, hosts'

.PHONY: clean
clean: ## remove what was built; .venv and ./data stay
	rm -rf build dist reports .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks src/*.egg-info
	find src ext tests bench loadtest -name '__pycache__' -prune -exec rm -rf {} + 2>/dev/null || true
	rm -f src/syncbridge/_ext/*.so $(VENV)/.built-* $(VENV)/.installed
