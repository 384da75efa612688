# make run [PORT=8080] [STATE=./var]   the daemon on embedded stores, with a simulated solar site
# make test [JOBS=...] [TESTS=...]    everything that CI checks; number of tests at once (cores + 1, at most 8; 0: one by one, in order); only those tests
# make flicker [TIMES=20] [TESTS=...]  the tests in random order, until this many runs are recorded; continues an interrupted series
# make docs                            the documentation, into build/docs
# make lint | format | ini | clean
#
# Needs Python 3.11 or newer. Missing Debian packages are installed, as root or with sudo; without either it prints what an administrator should run.

SHELL  := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PORT   ?= 8080
STATE  ?= ./var
# A third of the tests' time is waiting. Each of the jobs starts servers and a browser of its own: some 600 MB.
JOBS   ?= $(shell cores="$$(nproc)"; echo $$((cores < 7 ? cores + 1 : 8)))
TESTS  ?=
TIMES  ?= 20
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# Debian packages for make test, and programs that are extracted from packages without installing these: an installed InfluxDB would listen on all addresses.
TEST_PACKAGES := chromium chromium-driver fonts-dejavu-core jq mosquitto
TEST_PROGRAMS := influxd:influxdb promtool:promtool:prometheus nginx:nginx
ifeq ($(shell id -u),0)
TEST_PACKAGES += debootstrap systemd-container
endif

.PHONY: run test flicker lint docs format types imports ini clean
.DEFAULT_GOAL := test

run: $(VENV)/.installed
	@mkdir -p "$(STATE)"
	@exec $(BIN)/cenergyd run --demo --port $(PORT) --state "$(STATE)"

test: $(VENV)/.installed-test $(VENV)/.mongoeco $(VENV)/.debian lint docs
	$(BIN)/python -m pytest -q $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist worksteal) $(TESTS)

flicker: $(VENV)/.installed-test $(VENV)/.mongoeco $(VENV)/.debian
	JOBS=$(JOBS) tests/flicker.sh $(TIMES) $(TESTS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Fails on any warning: a page that is not in the menu, a link that leads nowhere.
docs: $(VENV)/.installed-test
	$(BIN)/mkdocs build --strict --quiet

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# etc/cenergyd.ini from the declarations in cenergyd/settings/sections.py; a test compares them.
ini: $(VENV)/.installed
	$(BIN)/cenergyd check --print-defaults > etc/cenergyd.ini.new
	mv etc/cenergyd.ini.new etc/cenergyd.ini

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A virtual environment contains absolute paths and one Python: after a move of the checkout, or with another PYTHON=, a new one is made.
ifneq ($(wildcard $(VENV)/.made),)
ifneq ($(shell grep -qsF "$(CURDIR)/$(VENV)/bin/" $(BIN)/pip && $(BIN)/python -c '' 2>/dev/null && echo same),same)
REMADE := the checkout was moved, or its Python is gone
else ifneq ($(filter command line environment,$(origin PYTHON)),)
WHICH := -c 'import sys; print(sys.base_prefix, sys.version)'
ifneq ($(shell "$(PYTHON)" $(WHICH) 2>&1),$(shell $(BIN)/python $(WHICH)))
REMADE := PYTHON=$(PYTHON) is another one
endif
endif
endif
ifdef REMADE
.PHONY: $(VENV)/.made
endif

$(VENV)/.made:
	@$(if $(REMADE),echo "a new $(VENV): $(REMADE)"; rm -rf $(VENV))
	@command -v "$(PYTHON)" >/dev/null || contrib/debian-packages python3 python3-venv
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 chooses one" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || contrib/debian-packages python3-venv
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

# Editable, so that a change of the code needs no new install; setup.py says what the packages are.
$(VENV)/.installed: $(VENV)/.made setup.py
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made setup.py
	$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/.installed

# The tests' second server of MongoDB's protocol needs Python 3.13: an environment of its own where this one is older. Without it its tests are skipped.
$(VENV)/.mongoeco: $(VENV)/.installed-test
	@if ! $(BIN)/python -c 'import mongoeco.wire' 2>/dev/null; then \
	    for python in python3.14 python3.13 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[3-9]*/bin/python; do \
	        "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	        "$$python" -m venv --clear $(VENV)/mongoeco && \
	            $(VENV)/mongoeco/bin/python -m pip --disable-pip-version-check --quiet --quiet install 'mongoeco[wire]>=4.11' && break; \
	    done; \
	fi; true
	@touch $@

$(VENV)/.debian: $(VENV)/.made contrib/debian-packages contrib/debian-unpack
	@contrib/debian-packages $(TEST_PACKAGES)
	@for words in $(TEST_PROGRAMS); do \
	    program="$${words%%:*}"; packages="$${words#*:}"; \
	    PATH="$(CURDIR)/$(BIN):$$PATH:/usr/sbin" command -v "$$program" >/dev/null || \
	        contrib/debian-unpack "$$program" $(BIN) $${packages//:/ } || exit 1; \
	done
	@touch $@
