"""Packaging of keras_ebm; the wheel ships the library alone."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "absl-py>=2.1",
    "h5py>=3.11",
    "keras>=3.15",
    "numpy>=1.26",
    "tensorflow>=2.21",
    "tensorflow-probability>=0.25",
    # The messages of TF Serving, for the requests that warm an export up.
    "tensorflow-serving-api>=2.21",
    # TensorFlow Probability imports tf_keras without declaring it; tf-keras
    # in turn pins the minor version of TensorFlow.
    "tf-keras>=2.21",
]

PLOTS = ["matplotlib>=3.8", "tensorboard>=2.20"]

DATA = [
    "pandas>=2.2.1",
    "pillow>=10.0",
    # Of `parquet:PATH`.
    "pyarrow>=16.0",
    "scikit-learn>=1.6",
    "tensorflow-datasets>=4.9.10",
    # Which scikit-learn needs too.
    "threadpoolctl>=3.1",
    # tensorflow-datasets 4.9.10 imports it without declaring it.
    "importlib_resources>=6.0",
]

# The last two are for its Bayesian search.
TUNE = ["keras-tuner>=1.4.8", "scikit-learn>=1.6", "scipy>=1.11.1"]

# Backbones of `trainers.adopt --backbone=keras_hub:PRESET`.
HUB = ["keras-hub>=0.32"]

# Episodes of `hand:reach` and `hand:block`; the hand falls apart in MuJoCo 4.
ROBOTS = ["gymnasium-robotics>=1.4", "mujoco==3.3.7"]

# `export.predict --runner`.
BEAM = ["apache-beam>=2.70"]

# What benchmarks.step_torch is written in; the library never imports it.
BENCH = ["torch>=2.13"]

DEV = [
    *PLOTS,
    *DATA,
    *TUNE,
    "grpcio>=1.71",
    "mypy>=2.0",
    "protobuf>=6.31.1",
    "pytest>=8.0",
    "pytest-xdist>=3.6.1",
    "pyyaml>=6.0.1",
    "ruff>=0.9",
    "scipy>=1.11.1",
]

setup(
    name="keras_ebm",
    version="0.1.0",
    description=(
        "Energy-based models for Keras 3: classifiers that know when an "
        "input is unlike their training data"
    ),
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    py_modules=["keras_ebm_cli"],
    entry_points={"console_scripts": ["keras-ebm = keras_ebm_cli:main"]},
    packages=find_packages(include=["keras_ebm", "keras_ebm.*"]),
    # Says that the annotations are meant for the type checkers of users.
    package_data={"keras_ebm": ["py.typed"]},
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require={
        "plots": PLOTS,
        "data": DATA,
        "tune": TUNE,
        "hub": HUB,
        "robots": ROBOTS,
        "beam": BEAM,
        "bench": BENCH,
        "dev": DEV,
    },
)
