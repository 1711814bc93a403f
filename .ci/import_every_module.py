"""Imports every module of the installed keras_ebm; prints how many there are."""

import importlib
import pkgutil
import sys

import keras_ebm

#: Modules of the package whose packages are extras, which they alone import.
OF_EXTRAS = {
    "keras_ebm.export.beam",
    "keras_ebm.trainers.search.task",
    "keras_ebm.trainers.search.trial_files",
    "keras_ebm.trainers.search.trials",
}
names = [
    module.name
    for module in pkgutil.walk_packages(keras_ebm.__path__, prefix="keras_ebm.")
    if module.name not in OF_EXTRAS
]
for name in names:
    importlib.import_module(name)
for extra in ("matplotlib", "pandas", "sklearn", "tensorflow_datasets"):
    if extra in sys.modules:
        sys.exit(f"{extra} is not a core dependency, but importing keras_ebm needs it")
print(f"imported {len(names)} modules of {keras_ebm.__file__}")
