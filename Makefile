# Python 3.11 or newer and make are all that is needed.
#   make run TORCH=cpu              the small CPU build of torch: for machines without an NVIDIA GPU
#   make run PYTHON=/path/to/python another interpreter than the first fitting one on PATH
#   make run HOST=0.0.0.0 PORT=80   another address; every setting of the README works the same way

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
ifeq ($(TORCH),cpu)
export PIP_EXTRA_INDEX_URL := $(strip $(PIP_EXTRA_INDEX_URL) https://download.pytorch.org/whl/cpu)
endif
BIN := .venv/bin
ROOMS := service worker model images store launch client ops courier
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install run key backup restore test test-page lint audit bench soak faults load lock clean
help:
	@echo "make install   build .venv from the lock (TORCH=cpu: small build of torch, no GPU)"
	@echo "make run       start everything on http://127.0.0.1:8000 (HOST, PORT, B2S_DATA_DIR); Ctrl-C ends it"
	@echo "make key       make an API key: TENANT=name [SCOPES=read,denoise,finetune]"
	@echo "make test      run the tests"
	@echo "make backup    write database and blobs into one file: FILE=…; make restore FILE=… reads it back"
	@echo "make test-page the web page in a real Chromium (from PATH, or B2S_CHROMIUM)"
	@echo "make lint      ruff, mypy, bandit, and the audit where the advisory service answers"
	@echo "make audit     known holes in the locked packages (needs internet, and fails without)"
	@echo "make bench     measure the service"
	@echo "make soak      half an hour under fire: nothing lost, memory flat"
	@echo "make load      two hundred clients at a full queue: nothing but answers"
	@echo "make faults    220 randomised kill schedules over both stores"
	@echo "make lock      write the lock files anew from pyproject.toml"
	@echo "make clean     remove .venv and caches; data stays"

install: .venv/.installed

.venv/.installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is not a Python 3.11 or newer: name one with PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { echo "$(PYTHON) cannot make .venv: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	@touch $@

run: install
	@$(BIN)/python -m launch

key: install
	@test -n "$(TENANT)" || { echo "Whom is the key for? make key TENANT=name [SCOPES=read,denoise,finetune]" >&2; exit 1; }
	@$(BIN)/python -m store.migrate
	@$(BIN)/python -m ops keys create "$(TENANT)" $(if $(SCOPES),--scopes "$(SCOPES)")

test: .venv/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

test-page: .venv/.installed-dev
	$(BIN)/python -m pytest tests/page $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check $(ROOMS) tests benchmarks docker tools
	$(BIN)/ruff format --check $(ROOMS) tests benchmarks docker tools
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

# torch without the local version of a CPU build: the lock fits whichever build the machine's index offers.
lock: .venv/.installed-dev
	$(COMPILE) --output-file requirements.lock pyproject.toml
	sed -i.old 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' requirements.lock
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	sed -i.old 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' requirements-dev.lock
	rm *.lock.old
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-options

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +
