# Two commands on a fresh machine with Python 3.11+ and make:
#   make demo    install, train, calibrate, export, verify, report
#   make test    install, lint, test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint install core lowest clean

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

# The lowest versions that setup.py admits must install together, and serve: a fit, its
# export and answers, tables, folders, prepared sets, estimators and pictures.
LOWEST_PYTHON ?= python3.11
LOWEST_TESTS := tests/test_arguments.py tests/test_plots.py
lowest: VENV_LOWEST := $(VENV)-lowest
lowest:
	$(LOWEST_PYTHON) -m venv $(VENV_LOWEST)
	$(VENV_LOWEST)/bin/python .ci/lowest.py > $(VENV_LOWEST)/constraints.txt
	$(VENV_LOWEST)/bin/python -m pip install --quiet --editable ".[dev]" \
		--constraint $(VENV_LOWEST)/constraints.txt
	# What old versions deprecated of each other is not ours to mend.
	$(VENV_LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning \
		--numprocesses=2 $(LOWEST_TESTS)

clean:
	rm -rf $(VENV) $(VENV)-core $(VENV)-lowest build demo *.egg-info
