# make run [PORT=8080] [STATE=./var]   the daemon on embedded stores, with a simulated solar site
# make test [JOBS=2]                   everything that CI checks; so many tests at once (0: one by one, in order)
# make docs                            the documentation, into build/docs
# make lint | format | ini | clean
#
# Needs Python 3.11 or newer and, for make test, Debian's packages below, which it installs where they are missing.

SHELL  := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PORT   ?= 8080
STATE  ?= ./var
JOBS   ?= 2
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
APT    := $(if $(filter 0,$(shell id -u)),,sudo )apt-get

# Program that must be there -> Debian package that brings it.
TEST_PROGRAMS := influxd chromium chromedriver mosquitto
TEST_PACKAGES := influxdb chromium chromium-driver fonts-dejavu-core mosquitto

.PHONY: run test lint docs format types imports ini clean
.DEFAULT_GOAL := test

run: $(VENV)/.installed
	@mkdir -p $(STATE)
	@exec $(BIN)/cenergyd run --demo --port $(PORT) --state $(STATE)

test: $(VENV)/.installed-test $(VENV)/.debian $(BIN)/promtool lint docs
	$(BIN)/python -m pytest -q $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist worksteal)

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

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 chooses one" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { $(APT) update -qq && $(APT) install -y -qq --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Editable, so that a change of the code needs no new install; setup.py says what the packages are.
$(VENV)/.installed: $(VENV)/.made setup.py
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made setup.py
	$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/.installed

# promtool for the tests of the alert rules, unpacked from its package: the Prometheus server that comes with it is not wanted here.
$(BIN)/promtool: $(VENV)/.made
	@folder="$$(mktemp -d)" && cd "$$folder" && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . && \
	    cp usr/bin/promtool "$(CURDIR)/$@" || echo "no promtool: the tests of the alert rules are skipped"

$(VENV)/.debian: $(VENV)/.made
	@for program in $(TEST_PROGRAMS); do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
	    echo "installing $(TEST_PACKAGES)"; \
	    $(APT) update -qq && DEBIAN_FRONTEND=noninteractive $(APT) install -y -qq --no-install-recommends $(TEST_PACKAGES); \
	fi
	@touch $@
