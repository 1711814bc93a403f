"""Numbers from text, in TensorFlow operations: missing, read, or not to be read."""

from collections.abc import Sequence

import tensorflow as tf

NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?"
#: Words beside an empty text that are a missing number everywhere.
NO_NUMBER = ("nan", "NaN", "null", "None")


def specs_of(specs: dict[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
    """Inputs by name, each as text."""
    return {
        name: tf.TensorSpec(spec.shape, tf.string, name=name)
        for name, spec in specs.items()
    }


def numbers(
    given: dict[str, tf.Tensor],
    specs: dict[str, tf.TensorSpec],
    missing: Sequence[str],
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Reads texts of columns as the numbers that their specs ask for.

    Args:
        given: string tensors `(batch, ...)` by name.
        specs: `TensorSpec` by name; what is no float stays text.
        missing: words that are a missing number besides an empty text and
            `NO_NUMBER`.

    Returns:
        `(values, refusals)`: NaN for a number that is missing or cannot be read, and
        strings `(batch,)`, why a row cannot be read, or empty.
    """
    values, refusals = {}, None
    words = tf.constant(["", *NO_NUMBER, *missing])
    for name, cells in given.items():
        if refusals is None:
            refusals = tf.fill(tf.shape(cells)[:1], "")
        if not specs[name].dtype.is_floating:
            values[name] = cells
            continue
        cells = tf.strings.strip(cells)
        absent = tf.reduce_any(cells[..., None] == words, axis=-1)
        number = tf.strings.regex_full_match(cells, NUMBER)
        read = tf.strings.to_number(tf.where(number, cells, "0"), specs[name].dtype)
        values[name] = tf.where(number, read, tf.constant(float("nan"), read.dtype))
        unread = ~(absent | number)
        axes = list(range(1, unread.shape.rank))
        unread = tf.reduce_any(unread, axis=axes) if axes else unread
        refusals = tf.where(
            unread & (refusals == ""), f"cannot be read: {name}", refusals
        )
    return values, "" if refusals is None else refusals


def as_text(given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Tensors by name as texts that `numbers` reads as the same numbers."""
    found = {}
    for name, cells in given.items():
        if cells.dtype != tf.string:
            missing = tf.math.is_nan(cells)
            # Digits enough for each number to come back as it was.
            digits = 17 if cells.dtype == tf.float64 else 9
            written = tf.strings.as_string(cells, precision=digits, scientific=True)
            cells = tf.where(missing, "", written)
        found[name] = cells
    return found
