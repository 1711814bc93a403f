"""Exports of half precision may differ by some of its steps, and by no more."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_ebm as ebm
from keras_ebm.serving.comparing import TOLERANCE, compare_decisions, tolerance_of

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
#: Half a step of each type at 1 is what rounding moves a number by.
STEPS = {"float32": TOLERANCE, "float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}


def detector(dtype, body_dtype=None):
    keras.utils.set_random_seed(0)
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype=dtype)])
    model = ebm.EnergyModel(head)
    if body_dtype is not None:
        body = keras.Sequential([keras.Input((4,)), layers.Dense(4, dtype=body_dtype)])
        model = model.behind(body)
    return ebm.ood.Detector.calibrate(model, X, target_fpr=0.1)


@pytest.fixture(scope="module")
def detectors():
    return {dtype: detector(dtype) for dtype in STEPS}


@pytest.mark.parametrize("dtype", STEPS)
def test_the_tolerance_is_four_steps_of_half_precision(detectors, dtype):
    assert tolerance_of(detectors[dtype]) == STEPS[dtype]


def test_a_body_of_half_precision_counts_too():
    assert tolerance_of(detector("float32", "bfloat16")) == STEPS["bfloat16"]


@pytest.mark.parametrize("dtype", STEPS)
@pytest.mark.parametrize("output", ["energy", "ood_score", "probabilities"])
def test_a_difference_counts_from_the_tolerance_on(detectors, dtype, output):
    model = detectors[dtype]
    expected = model.predict(X)
    largest = max(1.0, float(np.abs(expected[output]).max()))
    for share, fits in ((0.9, True), (1.1, False)):
        served = {**expected, output: expected[output] + share * STEPS[dtype] * largest}
        if fits:
            found = compare_decisions("serving_default", served, expected, model)
            assert found[output] == pytest.approx(
                share * STEPS[dtype] * largest, rel=1e-2
            )
        else:
            with pytest.raises(RuntimeError, match=f"`{output}` differs by"):
                compare_decisions("serving_default", served, expected, model)


def test_decisions_may_differ_where_half_precision_cannot_tell(detectors):
    model = detectors["bfloat16"]
    expected = model.predict(X)
    threshold = model.conformal.threshold(0.1)
    gap = np.abs(expected["ood_score"] - threshold)
    limit = STEPS["bfloat16"] * max(1.0, abs(threshold))
    near, far = gap.argmin(), gap.argmax()
    assert gap[near] <= limit < gap[far]
    for row, fits in ((near, True), (far, False)):
        accept = expected["accept"].copy()
        accept[row] = ~accept[row]
        served = {**expected, "accept": accept}
        if fits:
            compare_decisions("serving_default", served, expected, model)
        else:
            with pytest.raises(RuntimeError, match="`accept` differs on 1 of"):
                compare_decisions("serving_default", served, expected, model)


def test_p_values_may_move_past_the_scores_within_the_tolerance(detectors):
    for dtype, moves in (("float32", 2), ("bfloat16", 6)):
        model = detectors[dtype]
        expected = model.predict(X)
        served = {**expected, "p_value": expected["p_value"] - moves / 61.0}
        compare_decisions("serving_default", served, expected, model)
    many = {**expected, "p_value": expected["p_value"] - 0.9}
    with pytest.raises(RuntimeError, match="`p_value` differs by"):
        compare_decisions("serving_default", many, expected, model)
