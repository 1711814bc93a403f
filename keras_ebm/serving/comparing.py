"""Compares answers of an exported model with those of the framework."""

from collections.abc import Collection

import numpy as np
from keras.layers import Layer

from keras_ebm.ood import Detector
from keras_ebm.serving.outputs import OUTPUTS, output_names, restore

#: Share of an output's largest magnitude that rounding makes in float32.
TOLERANCE = 1e-4
#: Steps of a number in half precision, of which a compiled network may take fewer.
HALF_STEPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def tolerance_of(model: Detector) -> float:
    """`TOLERANCE`, or four steps of the precision that it or its body computes in."""
    parts = [model.model.network, model.model.preprocessor]
    layers = [part._flatten_layers() for part in parts if isinstance(part, Layer)]
    types = {layer.compute_dtype for own in layers for layer in own}
    return max([TOLERANCE, *(4 * HALF_STEPS.get(kind, 0.0) for kind in types)])


def compare_decisions(
    signature: str,
    served: dict,
    expected: dict,
    model: Detector,
    rates: np.ndarray | None = None,
) -> dict[str, float]:
    """Compares every output of a signature as `OUTPUTS` says.

    Args:
        signature: its name, for errors.
        served: the export's answers by name, `(n, ...)` each.
        expected: what the detector gives, all of its outputs.
        model: the `Detector`.
        rates: float array `(n,)`, the rates asked for; None: the detector's.

    Returns:
        The largest difference of each numeric output.

    Raises:
        RuntimeError: if an output is absent, not the detector's, or differs.
    """
    with_classes = any(OUTPUTS[n].of == "classes" for n in served if n in OUTPUTS)
    names = [n for n in output_names(model, with_classes) if n in expected]
    require_names(signature, served, names)
    # Rows without an answer must be the same; their numbers are compared as NaN.
    served, expected = restore(served), restore(expected)
    tolerance = tolerance_of(model)
    clear = {
        "class": _clear_classes(expected, tolerance) if with_classes else None,
        "decision": clear_of_threshold(model, expected, rates),
        "equal": np.ones(len(expected["energy"]), bool),
    }
    extra = {"number": 0.0, "p_value": _steps(model, expected, tolerance)}
    differences = {}
    for name in names:
        how = OUTPUTS[name].compared
        if how in extra:
            differences[name] = difference(name, served[name], expected[name])
            require_close(
                name, differences[name], expected[name], extra[how], tolerance
            )
    for name in names:
        rows = clear.get(OUTPUTS[name].compared)
        if rows is not None:
            require_equal(name, served[name][rows], expected[name][rows])
    return differences


def require_names(
    signature: str, served: Collection[str], names: Collection[str]
) -> None:
    """Raises RuntimeError unless a signature has these outputs and no other."""
    for name in names:
        if name not in served:
            raise RuntimeError(
                f"The exported model has no output `{name}` in the signature "
                f"`{signature}`."
            )
    for name in served:
        if name not in names:
            raise RuntimeError(
                f"The exported model has an output `{name}` in the signature "
                f"`{signature}`, which the detector does not give."
            )


def _steps(model: Detector, expected, tolerance: float) -> float:
    """How far p-values move where scores round: by a step a calibration score.

    In half precision that may be several, two else.
    """
    size = model.conformal.sizes.min() + 1.0
    if tolerance <= TOLERANCE:
        return 2.0 / size
    own, scores = np.sort(model.conformal.scores), expected["ood_score"]
    limit = tolerance * np.maximum(1.0, np.abs(scores))
    passed = np.searchsorted(own, scores + limit) - np.searchsorted(own, scores - limit)
    return (2.0 + passed.max(initial=0)) / size


def _clear_classes(expected, tolerance: float) -> np.ndarray:
    """Rows whose two best probabilities differ by more than rounding, or are NaN."""
    best = np.sort(expected["probabilities"], axis=-1)
    return ~(best[:, -1] - best[:, -2] <= tolerance)


def clear_of_threshold(
    model: Detector, expected: dict, rates: np.ndarray | None = None
) -> np.ndarray:
    """Which rows' scores are further from the threshold than rounding goes.

    Args:
        model: the `Detector`.
        expected: its answers.
        rates: float array `(n,)` of rates; None: the detector's.
    """
    scores = expected["ood_score"]
    rates = np.full(len(scores), model.target_fpr) if rates is None else rates
    thresholds = np.empty(len(scores))
    for rate in np.unique(rates):
        rows, threshold = rates == rate, model.conformal.threshold(float(rate))
        if model.conformal.by_class:
            threshold = np.asarray(threshold)[expected["class_id"][rows]]
        thresholds[rows] = threshold
    limit = tolerance_of(model) * np.maximum(1.0, np.abs(thresholds))
    return ~(np.abs(scores - thresholds) <= limit)


def difference(name: str, served: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays that are NaN in the same places."""
    if not np.array_equal(np.isnan(served), np.isnan(expected)):
        raise RuntimeError(f"The exported model disagrees on where `{name}` is NaN.")
    # Infinite numbers may be equal, and have no difference.
    other = ~(np.isnan(expected) | (served == expected))
    return float(np.abs(served[other] - expected[other]).max(initial=0.0))


def require_close(
    name: str,
    value: float,
    expected: np.ndarray,
    extra: float = 0.0,
    tolerance: float = TOLERANCE,
) -> None:
    """Raises RuntimeError if a difference is more than rounding."""
    finite = np.abs(expected)[np.isfinite(expected)]
    limit = tolerance * max(1.0, float(finite.max(initial=0.0))) + extra
    if value > limit:
        raise RuntimeError(
            f"The exported model disagrees: `{name}` differs by {value:.3g} "
            f"(limit {limit:.3g}) on {len(expected)} rows."
        )


def require_steps(
    name: str, served: np.ndarray, expected: dict, model: Detector
) -> None:
    """Raises RuntimeError if p-values differ by more than scores' rounding does.

    Args:
        name: of the output.
        served: p-values `(n,)`.
        expected: what the detector gives, all of its outputs, as they are served.
        model: the `Detector`.
    """
    tolerance, expected = tolerance_of(model), restore(expected)
    steps = _steps(model, expected, tolerance)
    found = difference(name, np.where(served == 0, np.nan, served), expected["p_value"])
    require_close(name, found, expected["p_value"], steps, tolerance)


def require_equal(name: str, served: np.ndarray, expected: np.ndarray) -> None:
    """Raises RuntimeError with the number of rows that differ."""
    if not np.array_equal(served, expected):
        count = int(np.sum(served != expected))
        raise RuntimeError(
            f"The exported model disagrees: `{name}` differs on {count} of "
            f"{len(expected)} rows."
        )
