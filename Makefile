# Two commands on a fresh machine with Python 3.11+ and make:
#   make demo    install, train, calibrate, export, verify, report
#   make test    install, lint, check types, test
# And `make faults`: kills, full disks and power cuts; a quarter of an hour.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo gallery test lint install dist core lowest newest dependencies results \
	faults docs look clean

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
	$(BIN)/codespell README.md CHANGELOG.md docs keras_ebm keras_ebm_cli.py examples
	$(BIN)/mypy

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	touch $@

# What would be uploaded.
dist: $(STAMP)
	rm -rf build dist
	$(BIN)/python -m build --outdir dist > dist.log || (cat dist.log; false)
	rm -rf build dist.log
	$(BIN)/twine check --strict dist/*

# The wheel with the declared core dependencies alone: every module imports, and the
# command trains a density and exports it.
VENV_CORE := $(VENV)-core
core: dist
	rm -rf $(VENV_CORE)
	$(PYTHON) -m venv $(VENV_CORE)
	$(VENV_CORE)/bin/python -m pip install --quiet dist/*.whl
	cd $(VENV_CORE) && bin/python $(CURDIR)/.ci/import_every_module.py
	cd $(VENV_CORE) && bin/keras-ebm train-vera --dataset=toy:rings --epochs=1 \
		--nopicture --notensorboard --verbose=0 --workdir=run
	cd $(VENV_CORE) && bin/keras-ebm export-ood-scorer --model=run/model.keras \
		--calibration=toy:rings --output=served

# The wheel with the lowest versions that setup.py admits: they must install together,
# and serve a fit, its export and answers, tables, folders, prepared sets, estimators
# and pictures. On the lowest Python too, as older versions have no wheels for newer
# ones. The tests run in a folder where the checkout's package is not.
LOWEST_PYTHON ?= python3.11
VENV_LOWEST := $(VENV)-lowest
WHEEL_TESTS = tests/test_arguments.py tests/test_plots.py tests/test_kept_files.py \
	tests/data/test_images.py tests/data/test_specs.py tests/data/test_tables.py \
	tests/data/test_tfds_images.py tests/ood/test_conformal.py \
	tests/callbacks/test_training_callbacks.py::$(AVERAGES) \
	tests/estimators/test_energy_classifier.py::$(PIPELINES) \
	tests/programs/test_command.py tests/programs/test_exporters.py::$(COLUMNS) \
	tests/programs/test_tune_program.py::$(HYPERBAND) tests/test_readme.py::$(QUICK)
AVERAGES := test_averaged_weights_take_the_place_of_the_last_ones
PIPELINES := test_it_stands_in_pipelines_searches_and_cross_validation
COLUMNS := test_a_table_is_asked_by_the_names_of_its_columns
HYPERBAND := test_hyperband_goes_on_with_a_trial_as_if_it_had_not_stopped
QUICK := test_the_quick_start_runs_and_knows_most_test_digits
# What the tests read of the checkout, besides its package.
BESIDE = .ci benchmarks docs examples export tests trainers README.md mkdocs.yml \
	pyproject.toml setup.py
define test_the_wheel_of
	mkdir $(1)/checked
	cp -r $(BESIDE) $(1)/checked
	cd $(1)/checked && ../bin/python -m pytest $(2) --numprocesses=2 $(WHEEL_TESTS)
endef

lowest: dist
	rm -rf $(VENV_LOWEST)
	$(LOWEST_PYTHON) -m venv $(VENV_LOWEST)
	$(VENV_LOWEST)/bin/python .ci/lowest.py > $(VENV_LOWEST)/constraints.txt
	$(VENV_LOWEST)/bin/python -m pip install --quiet "$$(ls dist/*.whl)[dev]" \
		--constraint $(VENV_LOWEST)/constraints.txt
	# What old versions deprecated of each other is not ours to mend.
	$(call test_the_wheel_of,$(VENV_LOWEST),-W ignore::DeprecationWarning)

# The wheel with the newest versions, on another Python; all tests by WHEEL_TESTS=tests.
#   make newest NEWEST_PYTHON=python3.13
NEWEST_PYTHON ?= $(PYTHON)
VENV_NEWEST := $(VENV)-newest
newest: dist
	rm -rf $(VENV_NEWEST)
	$(NEWEST_PYTHON) -m venv $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/python -m pip install --quiet "$$(ls dist/*.whl)[dev]"
	$(call test_the_wheel_of,$(VENV_NEWEST),--dist=worksteal)

# The page of dependencies, from setup.py and what is installed.
dependencies: $(STAMP)
	$(BIN)/python .ci/dependencies.py > docs/dependencies.md

# What of the saved results is older than its code, and the dates in the pages.
results: $(STAMP)
	$(BIN)/python -m benchmarks.stale --write

# The site, into site/. mkdocs-material would print what it thinks of mkdocs 2.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(STAMP)
	$(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python docs/_tools/links.py site

# Pages in Chromium, wide and narrow, light and dark, with what axe says of them.
look: docs
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	$(BIN)/python docs/_tools/browse.py site look

faults: $(STAMP)
	$(BIN)/python -m benchmarks.faults --output=benchmarks/results/faults

clean:
	rm -rf $(VENV) $(VENV)-core $(VENV)-lowest $(VENV)-newest build dist demo site look *.egg-info
