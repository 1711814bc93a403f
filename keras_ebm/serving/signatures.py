"""The signatures of what is served: of raw inputs, rates, files, text and examples."""

import dataclasses
from collections.abc import Callable
from typing import cast

import tensorflow as tf

from keras_ebm.data.image_bytes import decode_rows
from keras_ebm.data.schema import TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.models.probabilities import frozen_calibration
from keras_ebm.ood import Detector
from keras_ebm.serving import examples, inputs, text
from keras_ebm.serving.outputs import complete, output_names

#: Beside the classes of the signature `classify`, that of rows that are refused.
REFUSED = "(refused)"
#: Signatures whose method is that of TF Serving's interfaces of these names.
METHODS = {
    "classify": "tensorflow/serving/classify",
    "regress": "tensorflow/serving/regress",
}


@dataclasses.dataclass(frozen=True)
class Served:
    """What is served, whatever stands behind it.

    Args:
        specs: `TensorSpec` of each input, by the name served.
        answer: function of a dict of such inputs and of rates `(batch,)`, or of None
            for the rate of the export, to a dict of outputs `(batch, ...)`.
        class_names: those of a classifier; empty for a scorer.
        image_shape: `(height, width, channels)` where files of images are taken too.
        missing: words that stand for a missing cell of a table; None for no table.
    """

    specs: dict[str, tf.TensorSpec]
    answer: Callable[[dict, tf.Tensor | None], dict]
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    missing: tuple[str, ...] | None = None


def served(detector: Detector, with_classes: bool) -> Served:
    """What an export of a detector serves.

    Args:
        detector: `Detector`.
        with_classes: bool, whether it is a classifier's.
    """
    model, names = detector.model, output_names(detector, with_classes)
    schema = None
    if inputs.input_kind(model) == "table":
        encoder = cast(TableEncoder, model.preprocessor)
        schema = TableSchema.from_config(encoder.schema)

    def answer(given, rate):
        if schema is None:
            rows = inputs.raw_inputs(model, given)
        else:
            rows = inputs.encode_columns(schema, given)
        with frozen_calibration():
            decision = detector.decide(rows, rate)
        return {name: decision[name] for name in names}

    of_bytes = inputs.takes_bytes(model)
    return Served(
        inputs.input_specs(model) if schema is None else inputs.column_specs(schema),
        answer,
        tuple(detector.class_names) if with_classes else (),
        tuple(model.raw_spec().shape[1:]) if of_bytes else None,
        None if schema is None else tuple(schema.missing),
    )


def signatures(what: Served) -> dict:
    """Signature name to `(function, specs)`.

    All but the last two give every output:

    - `serving_default` takes raw inputs, and `at_rate` a `target_fpr` for each row
      besides;
    - `encoded` takes PNG or JPEG bytes of a model of images, see `decode_rows`;
    - `text` takes a table's columns as strings, so that a number may be missing;
    - `examples` takes serialised `tf.train.Example`s, which may leave out columns;
    - `classify` and `regress` take such examples as TF Serving's interfaces of these
      names do: the labels with their probabilities, and `REFUSED`, which alone has a
      score, of 1, where a row is not accepted; and the p-value.

    No output is NaN or infinite: see `keras_ebm.serving.outputs.complete`.
    """
    # Graphs that the signatures share, each traced once.
    whole = _traced(lambda given: complete(what.answer(given, None)), what.specs)

    def of_files(images):
        pixels, refusals = decode_rows(images, what.image_shape)
        return complete(whole(dict.fromkeys(what.specs, pixels)), refusals)

    def at_rate(given):
        own = {name: given[name] for name in what.specs}
        return complete(what.answer(own, given[inputs.RATE]))

    rate = tf.TensorSpec((None,), tf.float32, name=inputs.RATE)
    found = {
        "serving_default": (lambda given: whole(given), [what.specs]),
        "at_rate": (at_rate, [{**what.specs, inputs.RATE: rate}]),
    }
    if what.image_shape is not None:
        spec = tf.TensorSpec((None,), tf.string, "images")
        of_files = _traced(of_files, spec)
        found["encoded"] = (lambda images: of_files(images), [spec])
    if what.missing is not None:

        def of_text(given):
            cells, refusals = text.numbers(given, what.specs, what.missing)
            return complete(whole(cells), refusals)

        found["text"] = (of_text, [text.specs_of(what.specs)])
    return found | _of_examples(what, whole, of_files)


def names_of(what: Served) -> list[str]:
    """Names of the `signatures`, which are not built."""
    names = ["serving_default", "at_rate"]
    names += ["encoded"] if what.image_shape is not None else []
    names += ["text"] if what.missing is not None else []
    if examples.features(what.specs, what.image_shape) is not None:
        names += ["examples", "regress", *(["classify"] if what.class_names else [])]
    return names


def _traced(function, spec):
    """One graph of a function, which others call."""
    return tf.function(function, autograph=False).get_concrete_function(spec)


def _of_examples(what: Served, whole, of_files) -> dict:
    features = examples.features(what.specs, what.image_shape)
    if features is None:
        return {}

    def answers(serialised):
        given = tf.io.parse_example(serialised, features)
        if what.image_shape is not None:
            return of_files(given[examples.IMAGE])
        given, refusals = examples.as_inputs(given, what.specs)
        return complete(whole(given), refusals)

    spec = [tf.TensorSpec((None,), tf.string, "inputs")]
    answers = _traced(answers, *spec)
    found = {
        "examples": (lambda inputs: answers(inputs), spec),
        "regress": (lambda inputs: {"outputs": answers(inputs)["p_value"]}, spec),
    }
    if what.class_names:
        names = tf.constant([*what.class_names, REFUSED])

        def classify(inputs):
            answer = answers(inputs)
            passed = tf.cast(answer["accept"], tf.float32)[:, None]
            scores = tf.concat([passed * answer["probabilities"], 1.0 - passed], axis=1)
            classes = tf.tile(names[None], [tf.shape(scores)[0], 1])
            return {"classes": classes, "scores": scores}

        found["classify"] = (classify, spec)
    return found
