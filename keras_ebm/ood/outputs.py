"""What the scores read off a network: logits, features, gradient norm."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_ebm import rows
from keras_ebm.gradients import gradient_norm
from keras_ebm.models import BaseEnergyModel
from keras_ebm.models.base import check_float_input
from keras_ebm.networks import with_features


def output_function(model: BaseEnergyModel, requires: Iterable[str]):
    """Returns a function from raw inputs to the tensors that scores read.

    Args:
        model: an `EnergyModel`.
        requires: of `"logits"`, `"features"`, `"inputs"` (preprocessed and flat),
            `"raw"` (as they come) and `"gradient_norm"`; logits are always there. The
            gradient is with respect to preprocessed inputs, and costs a backward pass.

    Returns:
        Callable from raw inputs `(batch, ...)`, or a dict of several, to a dict of
        tensors.

    Raises:
        ValueError: if features are asked of a network that is not functional.
    """
    requires = frozenset(requires)
    network = model.network
    if "gradient_norm" in requires:
        check_float_input(network, "the score of the gradient's norm")
    if "features" in requires:
        both = with_features(network)

    def outputs(raw):
        x = model.preprocess(raw)
        if "features" in requires:
            result = dict(both(x, training=False))
        else:
            result = {"logits": network(x, training=False)}
        if "inputs" in requires:
            result["inputs"] = _flat(x)
        if "gradient_norm" in requires:
            result["gradient_norm"] = gradient_norm(
                lambda inputs: model.to_energy(network(inputs, training=False)), x
            )
        result = {name: tf.cast(value, tf.float32) for name, value in result.items()}
        # Not cast, as float32 may merge what is told apart in float64.
        return result | ({"raw": raw} if "raw" in requires else {})

    return outputs


def _flat(x):
    """Inputs as vectors, those of several inputs one behind the other."""
    parts = tree.flatten(x)
    if not all(part.dtype.is_floating for part in parts):
        raise ValueError(
            "Distances between inputs need floats. Received: inputs of "
            f"{', '.join(part.dtype.name for part in parts)}; choose a score of the "
            "network's features, such as 'knn'."
        )
    flat = [tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in parts]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)


def network_outputs(
    model: BaseEnergyModel,
    x: Any,
    labels: np.ndarray | None = None,
    *,
    requires: Iterable[str] = ("logits", "features"),
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Runs raw rows through a model, in the form that scores are fitted with.

    Args:
        model: an `EnergyModel`.
        x: raw inputs `(rows, ...)`, at least one row; see `keras_ebm.rows.as_rows`.
        labels: optional int array `(rows,)`, kept as `"labels"`.
        requires: see `output_function`.
        batch_size: int, rows in one pass; None: 256, or fewer of large
            images, see `BaseEnergyModel.rows_at_a_time`.

    Returns:
        Dict of arrays: `"logits"` `(rows, K)` and what `requires` names.

    Raises:
        ValueError: if there are no rows.
    """
    x = rows.as_rows(x, "x", model.raw_spec())
    size = rows.num_rows(x)
    if size == 0:
        raise ValueError("`x` must have at least one row. Received: no rows.")
    run = tf.function(output_function(model, requires), autograph=False)
    # One trace for every batch size, the last one's included.
    run = run.get_concrete_function(rows.batch_spec(x))
    batch_size = batch_size or model.rows_at_a_time()
    parts = []
    for start in range(0, size, batch_size):
        part = rows.tensors(rows.take(x, slice(start, start + batch_size)))
        parts.append(run(part))
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if labels is not None:
        outputs["labels"] = np.asarray(labels)
    return outputs
