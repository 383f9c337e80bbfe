# Python 3.11 or newer and make are all that is needed.
#   make run TORCH=cpu              the small CPU build of torch, also where an NVIDIA card is; TORCH=cuda: the other one
#   make run PYTHON=/path/to/python another interpreter than the first fitting one on PATH
#   make run HOST=0.0.0.0 PORT=80   another address; every setting of docs/settings.md works the same way

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
TORCH ?= auto
BIN := .venv/bin
ROOMS := service worker model images store launch client ops courier lab
# Tests wait for servers more than they compute. A file stays in one process, with the servers of its fixtures.
IN_PARALLEL := --numprocesses 2 --dist loadfile --max-worker-restart 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install run key backup restore test test-fast test-page test-napari lint audit bench soak faults load lock clean
help:
	@echo "make install   build .venv from the lock (TORCH=auto, cpu or cuda: which build of torch)"
	@echo "make run       start everything on http://127.0.0.1:8000 (HOST, PORT, B2S_DATA_DIR); Ctrl-C ends it"
	@echo "make key       make an API key: TENANT=name [SCOPES=read,denoise,finetune]"
	@echo "make test      run the tests"
	@echo "make test-fast those without servers and trainings: for every save"
	@echo "make backup    write database and blobs into one file: FILE=…; make restore FILE=… reads it back"
	@echo "make test-page the web page in a real Chromium (from PATH, or B2S_CHROMIUM)"
	@echo "make test-napari the napari plugin in an environment of its own (.venv-napari), with a real service"
	@echo "make lint      ruff, mypy, bandit, and the audit where the advisory service answers"
	@echo "make audit     known holes in the locked packages (needs internet, and fails without)"
	@echo "make bench     measure the service"
	@echo "make soak      half an hour under fire: nothing lost, memory flat"
	@echo "make load      two hundred clients at a full queue: nothing but answers"
	@echo "make faults    220 randomised kill schedules over both stores"
	@echo "make lock      write the lock files anew from pyproject.toml"
	@echo "make clean     remove .venv and caches; data stays"

install: .venv/.installed

.venv/.installed: requirements.lock requirements-torch.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is not a Python 3.11 or newer: name one with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { echo "$(PYTHON) cannot make .venv: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(BIN)/python tools/install.py requirements.lock --torch $(TORCH)
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	@$(BIN)/python tools/install.py requirements-dev.lock --torch $(TORCH)
	@touch $@

run: install
	@$(BIN)/python -m launch

key: install
	@test -n "$(TENANT)" || { echo "Whom is the key for? make key TENANT=name [SCOPES=read,denoise,finetune]" >&2; exit 1; }
	@$(BIN)/python -m store.migrate
	@$(BIN)/python -m ops keys create "$(TENANT)" $(if $(SCOPES),--scopes "$(SCOPES)")

test: .venv/.installed-dev
	$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

test-fast: .venv/.installed-dev
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not server and not training" $(ARGS)

test-page: .venv/.installed-dev
	$(BIN)/python -m pytest tests/page $(ARGS)

test-napari: .venv/.installed-dev
	$(BIN)/python plugins/napari-b2s/run_tests.py .venv-napari $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check $(ROOMS) tests benchmarks docker tools plugins
	$(BIN)/ruff format --check $(ROOMS) tests benchmarks docker tools plugins
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml $(ROOMS) docker tools
	$(BIN)/python tools/audit.py

audit: .venv/.installed-dev
	$(BIN)/python tools/audit.py --required

backup: install
	@test -n "$(FILE)" || { echo "Where to? make backup FILE=b2s-$$(date +%F).tar" >&2; exit 1; }
	@$(BIN)/python -m ops backup "$(FILE)"

restore: install
	@test -n "$(FILE)" || { echo "From where? make restore FILE=b2s-….tar (into an empty B2S_DATA_DIR)" >&2; exit 1; }
	@$(BIN)/python -m ops restore "$(FILE)"

bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks.service $(ARGS)

soak: .venv/.installed-dev
	$(BIN)/python -m benchmarks.soak --minutes 30 --output benchmarks/soak.json $(ARGS)

load: .venv/.installed-dev
	$(BIN)/python -m benchmarks.load --output benchmarks/load.json $(ARGS)

faults: .venv/.installed-dev
	$(BIN)/python -m benchmarks.faults --schedules 110 --seed 1 --output benchmarks/faults.json $(ARGS)
	$(BIN)/python -m benchmarks.faults --schedules 110 --seed 2 --store postgresql-s3 --output benchmarks/faults.json $(ARGS)

# torch without hash and local version: the lock fits whichever build the machine's index offers.
lock: .venv/.installed-dev
	$(COMPILE) --output-file requirements.lock pyproject.toml
	{ grep '^#' requirements-torch.lock; sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock; } > .venv/lock && mv .venv/lock requirements-torch.lock
	$(WITHOUT_TORCH) requirements.lock > .venv/lock && mv .venv/lock requirements.lock
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(WITHOUT_TORCH) requirements-dev.lock > .venv/lock && mv .venv/lock requirements-dev.lock
	$(COMPILE) --constraint requirements.lock --output-file docker/gateway.lock docker/gateway.txt
WITHOUT_TORCH := awk '/^[^ \#]/ { skip = /^torch==/ } !skip'
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-options

clean:
	rm -rf .venv .venv-napari .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +
