# Two commands on a fresh machine with Python 3.11+ and make:
#   make demo    install, train, calibrate, export, verify, report
#   make test    install, lint, test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint install core clean

demo: $(STAMP)
	$(BIN)/python -m examples.demo --output=demo

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# The declared core dependencies alone must be enough to import every module.
core: VENV_CORE := $(VENV)-core
core:
	$(PYTHON) -m venv $(VENV_CORE)
	$(VENV_CORE)/bin/python -m pip install --quiet .
	cd $(VENV_CORE) && bin/python $(CURDIR)/.ci/import_every_module.py

clean:
	rm -rf $(VENV) $(VENV)-core build demo *.egg-info
