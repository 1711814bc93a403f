"""Known rows as an array, in whatever they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def as_rows(rows: Any, name: str, spec: tf.TensorSpec) -> np.ndarray:
    """Rows of one array, out of an array, a frame or the batches of a dataset.

    Args:
        rows: array `(n, ...)`, or what numpy makes one of, such as a pandas frame of
            numbers; or a `tf.data.Dataset` of batches, of inputs or of `(inputs,
            labels)`.
        name: of the argument, for errors.
        spec: of a batch of the model's raw inputs.

    Raises:
        ValueError: if they are a dict, or a dataset that is endless or not batched.
    """
    if isinstance(rows, dict):
        raise ValueError(
            f"`{name}` must be one array of rows. Received: a dict of {len(rows)} "
            "keys; stack its columns, as by np.stack([*columns.values()], axis=1)."
        )
    if not isinstance(rows, tf.data.Dataset):
        return np.asarray(rows)
    element = rows.element_spec
    element = element[0] if isinstance(element, tuple) else element
    rank = getattr(getattr(element, "shape", None), "rank", None)
    if rank != spec.shape.rank:
        raise ValueError(
            f"`{name}` must give batches of shape {tuple(spec.shape)}. Received: a "
            f"dataset of {element}; call .batch(256) on a dataset of single rows."
        )
    if int(rows.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{name}` must come to an end. Received: an endless dataset; leave "
            ".repeat() out, or take a number of batches."
        )
    parts = [batch[0] if isinstance(batch, tuple) else batch for batch in rows]
    return np.concatenate(parts) if parts else np.zeros([0, *spec.shape[1:]])
