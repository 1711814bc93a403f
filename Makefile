# Two commands on a fresh machine with Python 3.11+ and make:
#   make demo    install, train, calibrate, export, verify, report
#   make test    install, lint, check types, test
# And `make faults`: kills, full disks and power cuts; a quarter of an hour.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo gallery test lint install core lowest faults clean

demo: $(STAMP)
	$(BIN)/python -m examples.demo --output=demo

# All examples in their full form: pictures and numbers of docs/gallery.md. The page
# quotes what gallery.json says, and a test compares the two.
gallery: $(STAMP)
	$(BIN)/python -m examples.gallery

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
# On the lowest Python too, as older versions have no wheels for newer ones.
LOWEST_PYTHON ?= python3.11
LOWEST_TESTS = tests/test_arguments.py tests/test_plots.py \
	tests/data/test_images.py tests/data/test_specs.py tests/data/test_tables.py \
	tests/data/test_tfds_images.py tests/ood/test_conformal.py \
	tests/callbacks/test_training_callbacks.py::$(AVERAGES) \
	tests/estimators/test_energy_classifier.py::$(PIPELINES) \
	tests/programs/test_exporters.py::$(COLUMNS) \
	tests/programs/test_tune_program.py::$(HYPERBAND) tests/test_readme.py::$(QUICK)
AVERAGES := test_averaged_weights_take_the_place_of_the_last_ones
PIPELINES := test_it_stands_in_pipelines_searches_and_cross_validation
COLUMNS := test_a_table_is_asked_by_the_names_of_its_columns
HYPERBAND := test_hyperband_goes_on_with_a_trial_as_if_it_had_not_stopped
QUICK := test_the_quick_start_runs_and_knows_most_test_digits
lowest: VENV_LOWEST := $(VENV)-lowest
lowest:
	$(LOWEST_PYTHON) -m venv $(VENV_LOWEST)
	$(VENV_LOWEST)/bin/python .ci/lowest.py > $(VENV_LOWEST)/constraints.txt
	$(VENV_LOWEST)/bin/python -m pip install --quiet --editable ".[dev]" \
		--constraint $(VENV_LOWEST)/constraints.txt
	# What old versions deprecated of each other is not ours to mend.
	$(VENV_LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning \
		--numprocesses=2 $(LOWEST_TESTS)

faults: $(STAMP)
	$(BIN)/python -m benchmarks.faults --output=benchmarks/results/faults

clean:
	rm -rf $(VENV) $(VENV)-core $(VENV)-lowest build demo *.egg-info
