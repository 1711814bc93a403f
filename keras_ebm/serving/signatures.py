"""The signatures of a detector's decisions: of raw inputs, rates, and image files."""

from collections.abc import Sequence

import tensorflow as tf

from keras_ebm.data.image_bytes import DECODED, decode_rows
from keras_ebm.data.schema import TableSchema
from keras_ebm.ood import Detector
from keras_ebm.serving import inputs
from keras_ebm.serving.outputs import OUTPUTS


def signatures(detector: Detector, names: Sequence[str]) -> dict:
    """Signature name to `(function, specs)`.

    `serving_default` takes raw inputs and `at_rate` a `target_fpr` for each
    row besides; image models have `encoded`, which takes PNG or JPEG bytes. There a row
    that is no whole image, or too large a one, is not accepted, `reason` says why, its
    numbers are NaN, its `class_id` -1 and its `label` empty; the other rows get their
    own answers. See `decode_image` and `decode_rows`.
    """
    model = detector.model

    def decide(x, target_fpr=None):
        decision = detector.decide(x, target_fpr)
        return {name: decision[name] for name in names}

    rate = tf.TensorSpec((None,), tf.float32, name=inputs.RATE)
    kind = inputs.input_kind(model)
    if kind == "table":
        return _table_signatures(model, decide, rate)
    specs = inputs.input_specs(model)
    if kind == "several":
        found = _several_signatures(model, decide, specs, rate)
    else:
        (raw,) = specs.values()
        found = {
            "serving_default": (lambda inputs: decide(inputs), [raw]),
            "at_rate": (lambda inputs, rate: decide(inputs, rate), [raw, rate]),
        }
    if inputs.takes_bytes(model):
        shape = tuple(model.raw_spec().shape[1:])

        def encoded(images):
            pixels, refusals = decode_rows(images, shape)
            return refuse(decide(pixels), refusals)

        found["encoded"] = (encoded, [tf.TensorSpec((None,), tf.string, "images")])
    return found


def _several_signatures(model, decide, specs, rate):
    def default(served):
        return decide(inputs.raw_inputs(model, served))

    def at_rate(served):
        own = {name: served[name] for name in specs}
        return decide(inputs.raw_inputs(model, own), served[inputs.RATE])

    return {
        "serving_default": (default, [specs]),
        "at_rate": (at_rate, [{**specs, inputs.RATE: rate}]),
    }


def refuse(decision: dict, refusals: tf.Tensor) -> dict:
    """A decision in which rows that could not be read have no answer.

    Args:
        decision: name to tensor with leading axis `batch`, as `Detector.decide` gives.
        refusals: string tensor `(batch,)`, why a row could not be read, or empty.

    Returns:
        The decision; in rows that could not be read, NaN, -1, `False` and the empty
        string in place of numbers, classes, `accept` and `label`, and the `reason`.
    """
    unread = refusals != DECODED
    nothing = {name: OUTPUTS[name].unread for name in decision}
    if "reason" in nothing:
        nothing["reason"] = refusals
    answers = {}
    for name, value in decision.items():
        rows = tf.reshape(unread, [-1] + [1] * (value.shape.rank - 1))
        answers[name] = tf.where(rows, tf.cast(nothing[name], value.dtype), value)
    return answers


def _table_signatures(model, decide, rate):
    schema = TableSchema.from_config(model.preprocessor.schema)
    specs = inputs.column_specs(schema)

    def default(columns):
        return decide(inputs.encode_columns(schema, columns))

    def at_rate(columns):
        return decide(inputs.encode_columns(schema, columns), columns[inputs.RATE])

    return {
        "serving_default": (default, [specs]),
        "at_rate": (at_rate, [{**specs, inputs.RATE: rate}]),
    }
