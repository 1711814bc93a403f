"""Requests that TF Serving replays before a version takes any, and what they are of."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_ebm.serving import examples, text
from keras_ebm.serving.inputs import RATE
from keras_ebm.serving.signatures import METHODS, Served, names_of

FILE = Path("assets.extra") / "tf_serving_warmup_requests"


#: Rows of a second request of raw rows, and its bytes at most.
ROWS, MOST_BYTES = 64, 1_000_000


def write_warm_up(
    path: Path, requests: dict[str, dict[str, np.ndarray | tf.Tensor]]
) -> None:
    """Writes a request for each signature beside a SavedModel, and one of many rows.

    TF Serving sends them to a version that it loads before any other request, so that
    no client waits for what is only done once.

    Args:
        path: folder of the SavedModel.
        requests: tensors by the names of a signature's inputs, by signature.

    References:
        - TF Serving, "SavedModel Warmup": a TFRecord of `PredictionLog`s.
    """
    file, first = path / FILE, "serving_default"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, request in [*requests.items(), (first, many(requests[first]))]:
            writer.write(log_of(signature, request).SerializeToString())


def many(request: dict[str, np.ndarray | tf.Tensor]) -> dict[str, tf.Tensor]:
    """A request of the same row `ROWS` times, or fewer of large ones."""
    proto = {name: tf.make_tensor_proto(value) for name, value in request.items()}
    size = sum(value.ByteSize() for value in proto.values())
    count = max(2, min(ROWS, MOST_BYTES // size))
    return {
        name: tf.repeat(value[:1], count, axis=0) for name, value in request.items()
    }


def log_of(signature: str, request: dict) -> prediction_log_pb2.PredictionLog:
    """One request as the log that TF Serving replays."""
    log = prediction_log_pb2.PredictionLog()
    if signature in METHODS:
        own = getattr(log, f"{signature}_log").request
        serialised = np.asarray(request["inputs"]).tolist()
        parsed = [tf.train.Example.FromString(one) for one in serialised]
        own.input.example_list.examples.extend(parsed)
    else:
        own = log.predict_log.request
        for name, value in request.items():
            own.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    own.model_spec.signature_name = signature
    return log


def replay(loaded: Any, file: Path) -> list[str]:
    """Sends the requests of a file to a SavedModel, as TF Serving does.

    Args:
        loaded: what `tf.saved_model.load` gave.
        file: of `write_warm_up`.

    Returns:
        Names of the signatures that were asked, in order.
    """
    asked = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "predict_log":
            given = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        else:
            parts = request.input.example_list.examples
            given = {"inputs": [one.SerializeToString() for one in parts]}
        name = request.model_spec.signature_name
        loaded.signatures[name](**{k: tf.constant(v) for k, v in given.items()})
        asked.append(name)
    return asked


def requests_of(what: Served, given: dict[str, tf.Tensor], rate: float) -> dict:
    """A request for every signature, of the same rows.

    Args:
        what: `Served`.
        given: inputs `(rows, ...)` by the name served.
        rate: asked of `at_rate`.

    Returns:
        Dict of tensors by the names of a signature's inputs, by signature.
    """
    count = len(next(iter(given.values())))
    rates = tf.fill([count], tf.constant(rate, tf.float32))
    found = {"serving_default": given, "at_rate": {**given, RATE: rates}}
    features = examples.features(what.specs, what.image_shape)
    if what.image_shape is not None:
        (pixels,) = given.values()
        files = tf.stack([tf.io.encode_png(row) for row in pixels])
        found["encoded"] = {"images": files}
        given = {examples.IMAGE: files}
    if what.missing is not None:
        found["text"] = text.as_text(given)
    if features is not None:
        serialised = tf.constant(examples.serialise(given, features))
        others = set(names_of(what)) - found.keys()
        found |= {name: {"inputs": serialised} for name in sorted(others)}
    return found
