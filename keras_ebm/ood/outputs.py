"""What the scores read off a network: logits, features, gradient norm."""

import math
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from keras_ebm.gradients import gradient_norm
from keras_ebm.models import BaseEnergyModel
from keras_ebm.networks import with_features


def output_function(model: BaseEnergyModel, requires: Iterable[str]):
    """Returns a function from raw inputs to the tensors that scores read.

    Args:
        model: an `EnergyModel`.
        requires: of `"logits"`, `"features"`, `"inputs"` (preprocessed and flat)
            and `"gradient_norm"`; logits are always there. The gradient is with
            respect to preprocessed inputs, and costs a backward pass.

    Returns:
        Callable from raw inputs `(batch, ...)` to a dict of tensors.

    Raises:
        ValueError: if features are asked of a network that is not functional.
    """
    requires = frozenset(requires)
    network = model.network
    if "features" in requires:
        both = with_features(network)

    def outputs(x):
        x = model.preprocess(x)
        if "features" in requires:
            result = dict(both(x, training=False))
        else:
            result = {"logits": network(x, training=False)}
        if "inputs" in requires:
            result["inputs"] = tf.reshape(x, [-1, math.prod(x.shape[1:])])
        if "gradient_norm" in requires:
            result["gradient_norm"] = gradient_norm(
                lambda inputs: model.to_energy(network(inputs, training=False)), x
            )
        return {name: tf.cast(value, tf.float32) for name, value in result.items()}

    return outputs


def network_outputs(
    model: BaseEnergyModel,
    x: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    requires: Iterable[str] = ("logits", "features"),
    batch_size: int = 256,
) -> dict[str, np.ndarray]:
    """Runs raw rows through a model, in the form that scores are fitted with.

    Args:
        model: an `EnergyModel`.
        x: raw inputs `(rows, ...)`, at least one row.
        labels: optional int array `(rows,)`, kept as `"labels"`.
        requires: see `output_function`.
        batch_size: int, rows held in memory at a time.

    Returns:
        Dict of arrays: `"logits"` `(rows, K)` and what `requires` names.

    Raises:
        ValueError: if there are no rows.
    """
    if len(x) == 0:
        raise ValueError("`x` must have at least one row. Received: no rows.")
    x = np.asarray(x)
    run = tf.function(output_function(model, requires), autograph=False)
    # One trace for every batch size, the last one's included.
    run = run.get_concrete_function(tf.TensorSpec((None, *x.shape[1:]), x.dtype))
    parts = []
    for start in range(0, len(x), batch_size):
        parts.append(run(tf.constant(x[start : start + batch_size])))
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if labels is not None:
        outputs["labels"] = np.asarray(labels)
    return outputs
