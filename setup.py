"""Packaging of keras_ebm; the wheel ships the library, its programs and one command.

Each requirement stands with its reason, which `docs/dependencies.md` shows.
"""

from pathlib import Path

from setuptools import find_packages, setup

CORE = {
    "absl-py>=2.1": "Flags of the programs.",
    "h5py>=3.11": "The files of weights that a training writes and goes on from.",
    "keras>=3.15": "Models, layers, `fit` and its callbacks.",
    "numpy>=1.26": "Rows before and after the models.",
    "tensorflow>=2.21": "What Keras computes with, and SavedModels.",
    "tensorflow-probability>=0.25": (
        "Distributions, HMC, NUTS and annealed importance sampling."
    ),
    "tensorflow-serving-api>=2.21": (
        "The messages of TF Serving, for the requests that warm an export up."
    ),
    "tf-keras>=2.21": (
        "Imported by TensorFlow Probability, which does not declare it; it pins the "
        "minor version of TensorFlow in turn."
    ),
}

PLOTS = {
    "matplotlib>=3.8": "Pictures: reports, grids of samples, densities.",
    "tensorboard>=2.20": "Reads the logs that trainings write.",
}

DATA = {
    "pandas>=2.2.1": "Tables: csv files and frames.",
    "pillow>=10.0": "Images of folders and of requests.",
    "pyarrow>=16.0": "`parquet:PATH`.",
    "scikit-learn>=1.6": "Its datasets, and the base of the estimators.",
    "tensorflow-datasets>=4.9.10": "`tfds:NAME`.",
    "scipy>=1.11.1": "The graph of neighbours that labels spread over.",
    "threadpoolctl>=3.1": (
        "Mixtures are fitted by one thread, which is faster; scikit-learn needs it too."
    ),
    "importlib_resources>=6.0": (
        "Imported by tensorflow-datasets 4.9.10, which does not declare it."
    ),
}

TUNE = {
    "keras-tuner>=1.4.8": "Searches of `keras-ebm tune`.",
    "scikit-learn>=1.6": "Its Bayesian search.",
    "scipy>=1.11.1": "Its Bayesian search.",
}

HUB = {"keras-hub>=0.32": "`keras-ebm adopt --backbone=keras_hub:PRESET`."}

ROBOTS = {
    "gymnasium>=1.0": "Steps of the robot hand.",
    "gymnasium-robotics>=1.4": "Episodes of `hand:reach` and `hand:block`.",
    "mujoco==3.3.7": "Its physics; the hand falls apart in MuJoCo 4.",
}

BEAM = {"apache-beam>=2.70": "`keras-ebm predict --runner`."}

BENCH = {"torch>=2.13": "One benchmark compares a step with it; nothing else does."}

TESTS = {
    "build>=1.2.2": "Builds the wheel and the sdist that are tested.",
    "codespell>=2.3": "Spelling of pages and docstrings.",
    "grpcio>=1.71": "Requests as TF Serving's clients send them.",
    "ipykernel>=6.29": "Runs the notebook.",
    "mypy>=2.0": "Checks types.",
    "nbclient>=0.10": "Runs the notebook.",
    "nbformat>=5.10": "Reads the notebook.",
    "protobuf>=6.31.1": "Messages as texts, in the tests.",
    "pytest>=8.0": "Runs the tests.",
    "pytest-xdist>=3.6.1": "Runs them on two cores.",
    "pyyaml>=6.0.1": "Reads the serving example's files.",
    "ruff>=0.9": "Style.",
    "twine>=6.0": "Checks what would be uploaded.",
}

DOCS = {
    "mkdocs>=1.6": "Builds the site.",
    "mkdocs-material>=9.6": "How the site looks.",
    "mkdocstrings>=0.29": "Pages of the reference from docstrings.",
    "mkdocstrings-python>=1.16": "Reads the docstrings, without importing the package.",
}

BROWSER = {
    "axe-playwright-python>=0.1.8": "Ships axe, which checks the pages' accessibility.",
    "PyQt6-WebEngine>=6.7": "Chromium, in which the pages are looked at.",
}

#: By extra, in the order in which the page of dependencies shows them.
EXTRAS = {
    "data": DATA,
    "plots": PLOTS,
    "tune": TUNE,
    "hub": HUB,
    "robots": ROBOTS,
    "beam": BEAM,
    "bench": BENCH,
    "docs": DOCS,
    "browser": BROWSER,
    "dev": {**PLOTS, **DATA, **TUNE, **TESTS},
}

setup(
    name="keras_ebm",
    version="0.1.0",
    description=(
        "Energy-based models for Keras 3: classifiers that know when an "
        "input is unlike their training data"
    ),
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    classifiers=[
        "Framework :: Keras",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["keras_ebm", "keras_ebm.*"]),
    # The command imports the package when it knows which program is meant.
    py_modules=["keras_ebm_cli"],
    entry_points={"console_scripts": ["keras-ebm = keras_ebm_cli:main"]},
    # Says that the annotations are meant for the type checkers of users.
    package_data={"keras_ebm": ["py.typed"]},
    python_requires=">=3.11",
    install_requires=list(CORE),
    extras_require={extra: list(packages) for extra, packages in EXTRAS.items()},
)
