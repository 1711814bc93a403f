import importlib
import os
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path

import keras
import pytest
from support import make_network, make_vera

from keras_ebm import plots
from keras_ebm.arguments import (
    check_choice,
    check_positive,
    check_size,
    why_not_imported,
)
from keras_ebm.estimators import sklearn_base
from keras_ebm.models import EnergyModel

ROOT = Path(__file__).parents[1]


def test_good_values_come_back():
    assert check_positive("a", 0.5) == 0.5
    assert check_positive("a", 0, zero_allowed=True) == 0
    assert check_size("a", 3) == 3
    assert check_choice("a", "x", ["x", "y"]) == "x"


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "2"])
def test_what_is_not_a_positive_number_is_named(value):
    with pytest.raises(ValueError, match=r"`width` must be .* above 0.*width="):
        check_positive("width", value)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), None])
def test_zero_allowed_allows_nothing_below_it(value):
    with pytest.raises(ValueError, match="at least 0"):
        check_positive("width", value, zero_allowed=True)


@pytest.mark.parametrize("value", [0, -2, 1.5, True, "3", None])
def test_what_is_not_a_count_is_named(value):
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1"):
        check_size("steps", value)


def test_an_unknown_choice_is_told_the_known_ones():
    with pytest.raises(ValueError, match="one of 'x', 'y'. Received: kind='z'"):
        check_choice("kind", "z", ["x", "y"])


def test_estimators_say_that_scikit_learn_is_too_old(monkeypatch):
    # What scikit-learn 1.5.2 lacks.
    old, validation = types.ModuleType("sklearn"), types.ModuleType("validation")
    old.__version__, validation.check_is_fitted = "1.5.2", None
    monkeypatch.setitem(sys.modules, "sklearn", old)
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", validation)
    stand_in = runpy.run_path(sklearn_base.__file__)["BaseEstimator"]
    message = "scikit-learn, which is too old: found 1.5.2, needs >= 1.6. Run `pip"
    with pytest.raises(ImportError, match=re.escape(message)):
        stand_in()


def test_estimators_say_that_scikit_learn_is_not_installed(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sklearn.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    stand_in = runpy.run_path(sklearn_base.__file__)["BaseEstimator"]
    with pytest.raises(ImportError, match="scikit-learn, which is not installed"):
        stand_in()


def test_the_lowest_scikit_learn_is_what_setup_py_admits():
    requirements = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["requirements"]
    assert f"scikit-learn>={sklearn_base.LOWEST}" in requirements(ROOT / "setup.py")


def test_a_package_that_is_broken_is_not_said_to_be_absent(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as caught:
        importlib.import_module("broken_package")
    reason = why_not_imported("broken_package", caught.value)
    assert reason == "cannot be imported (No module named 'nothing_of_this_name')"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="matplotlib, which is not installed"):
        plots.pyplot()


@pytest.mark.parametrize("floatx", ["float64", "float16", "bfloat16"])
def test_models_are_of_float32_weights_alone(floatx):
    network = make_network()
    keras.config.set_floatx(floatx)
    try:
        with pytest.raises(ValueError, match=f"'float32', .* Received: '{floatx}'; c"):
            EnergyModel(network)
        with pytest.raises(ValueError, match="floatx"):
            make_vera()
    finally:
        keras.config.set_floatx("float32")


REFUSED_TWICE = """
import os
for chosen_by in ("the environment", "keras.json"):
    try:
        import keras_ebm
    except ImportError as error:
        print(error)
    os.environ["KERAS_BACKEND"] = ""  # Which leaves it to keras.json.
"""


def test_another_backend_is_refused_in_one_line(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    done = subprocess.run(
        [sys.executable, "-c", REFUSED_TWICE],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("keras_ebm serves Keras's TensorFlow backend alone.")
        assert "Received: 'jax'; set" in line and "KERAS_BACKEND=tensorflow" in line
