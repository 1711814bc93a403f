"""A network cut in two: a frozen body, and a head that learns on its features."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import files, rows
from keras_ebm.archives import read_arrays
from keras_ebm.arguments import check_size
from keras_ebm.digests import array_digest
from keras_ebm.networks.graphs import (
    flatten,
    graph_of,
    has_layers,
    head_of,
    is_functional,
    origins,
    producer,
    run,
    specs_of,
)

#: Keys of a configuration whose texts are names of layers.
_LINKS = ("keras_history", "input_layers", "output_layers")


def split(network: keras.Model, at: str | None = None):
    """Cuts a network in two, which share its layers; the body is frozen, there too.

    The head is a network like any other, whose inputs are features: train it on those
    that `body_features` computes once, with a generator or negatives of features, and
    put the trained model behind the body by `EnergyModel.behind(body)`.

    Args:
        network: functional network, such as `from_classifier` gives.
        at: name of the layer whose output the features are; None: what the last layer
            with weights takes, before any dropout.

    Returns:
        `(body, head)`: Keras models from the network's inputs to features, and from
        features to what the network gives.

    Raises:
        ValueError: if the network is not functional, there is no such layer, or a way
            from the inputs to the output passes it by.
    """
    if not is_functional(network) or len(network.outputs) != 1:
        raise ValueError(
            "`network` must be functional, with one output. Received: "
            f"{getattr(network, 'name', network)!r}; pass it through "
            "keras_ebm.networks.from_classifier."
        )
    graph = flatten(graph_of(network))
    (output,) = graph.outputs
    features = _features_at(output, at)
    _check_way(output, features, network.name)
    body = keras.Model(graph.struct, features, name=f"{network.name}_body")
    inputs = keras.Input(features.shape[1:], dtype=features.dtype, name="features")
    (logits,) = run([output], {id(features): inputs})
    head = keras.Model(inputs, logits, name=f"{network.name}_head")
    body.trainable = False
    return body, head


def _features_at(output, at: str | None):
    """The tensor that a network is cut at."""
    tensors = _tensors(output)
    if at is None:
        head, features = head_of(output)
        if head is not None and has_layers(head):
            raise ValueError(
                "`at` must name a layer of a network whose last layer with weights is "
                f"known. Received: at=None; {head.name!r} is itself of several layers "
                f"that are not known one by one; choose one of {list(tensors)[-5:]}."
            )
        if features is None:
            raise ValueError(
                "`at` must name a layer of a network in which ways meet at the end. "
                f"Received: at=None; choose one of {list(tensors)[-5:]}."
            )
        return _before_dropout(features)
    if at not in tensors:
        raise ValueError(
            f"`at` must be the name of a layer on the way to the output. Received: "
            f"at={at!r}; there are {list(tensors)[-5:]} at the end of it."
        )
    return tensors[at]


def _before_dropout(tensor):
    """What dropout is of, which belongs to the training of a head."""
    operation, inputs = producer(tensor)
    while isinstance(operation, keras.layers.Dropout):
        (tensor,) = inputs
        operation, inputs = producer(tensor)
    return tensor


def _tensors(output) -> dict:
    """Tensors by the names of the layers that give them, from the inputs on."""
    found: dict = {}
    for tensor, operation, _ in origins([output]):
        found.setdefault(operation.name, tensor)
    return dict(reversed(found.items()))


def _check_way(output, features, name: str) -> None:
    for _, operation, inputs in origins([output], stop=features):
        if not inputs:
            raise ValueError(
                "`at` must be a layer that all ways to the output lead through. "
                f"Received: {producer(features)[0].name!r} of {name!r}, which the way "
                f"from the input {operation.name!r} passes by; choose a later layer."
            )


def body_features(
    body: keras.Model,
    x: Any,
    *,
    cache: str | os.PathLike | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Features of rows, computed once for each body and each set of rows.

    Args:
        body: functional model to one tensor, such as `split` gives.
        x: rows of its inputs, as `keras_ebm.rows.as_rows` takes them. Augmented views
            are rows of their own.
        cache: folder in which features are kept, or None. A file's name is a digest of
            the body's configuration, its weights and the rows, so that others of any of
            these are never taken for them.
        batch_size: int >= 1, rows in one pass.

    Returns:
        Array `(n, ...)` in the body's type.

    Raises:
        ValueError: if an argument is none of these.

    A `UserWarning` tells of a body that has no configuration, such as one with a
    function in a `Lambda`, whose features are not kept.
    """
    check_size("batch_size", batch_size)
    if not is_functional(body) or len(body.outputs) != 1:
        raise ValueError(
            "`body` must be functional, with one output. Received: "
            f"{getattr(body, 'name', body)!r}; see keras_ebm.networks.split."
        )
    if cache is not None and Path(cache).exists() and not Path(cache).is_dir():
        raise ValueError(f"`cache` must be a folder. Received: the file {cache}.")
    x = rows.as_rows(x, "x", specs_of(body))
    path = None if cache is None else _cache_path(Path(cache), body, x)
    if path is not None and path.is_file():
        kept = _read(path, tf.as_dtype(body.outputs[0].dtype).as_numpy_dtype)
        if kept is not None and len(kept) == rows.num_rows(x):
            return kept
    # A graph, in which images pass twice as fast as layer by layer.
    run_body = tf.function(lambda batch: body(batch, training=False), autograph=False)
    run_body = run_body.get_concrete_function(rows.batch_spec(x))
    size, parts = rows.num_rows(x), []
    # Some layers fail on no rows: the features of one are cut to none.
    known = x if size else rows.blank(x)
    for start in range(0, max(size, 1), batch_size):
        batch = rows.tensors(rows.take(known, slice(start, start + batch_size)))
        parts.append(run_body(batch).numpy())
    features = np.concatenate(parts)[:size]
    if path is not None:
        files.make_folder(path.parent)
        with files.written_beside(path) as file:
            np.savez(file, features=features)
    return features


def _cache_path(folder: Path, body: keras.Model, x) -> Path | None:
    """Where the features of these rows by this body lie; None if it cannot be told."""
    try:
        # Of a function a configuration has the name, or what it does but not what it
        # reads.
        for layer in body._flatten_layers():
            if isinstance(layer, keras.layers.Lambda):
                raise TypeError(f"{layer.name!r} is a Lambda")
        config = body.to_json()
    except Exception as error:  # of many kinds, as a layer may be anybody's
        warnings.warn(
            f"features of {body.name!r} are not kept, as the body has no configuration "
            f"({type(error).__name__}: {str(error).splitlines()[0]})",
            stacklevel=3,
        )
        return None
    config = json.dumps(_without_counts(json.loads(config), {}, True))
    parts = keras.tree.flatten(x)
    digest = array_digest(
        [
            np.frombuffer(config.encode(), np.uint8),
            *body.get_weights(),
            *(part.astype("U") if rows.is_text(part) else part for part in parts),
        ]
    )
    return folder / f"features-{digest[:32]}.npz"


def _without_counts(node, names: dict, is_layer: bool = False):
    """A configuration without what is another one at every start.

    These are the names that Keras counts up, of nested models too, and the addresses
    of shared objects.

    Args:
        node: part of a configuration.
        names: of the layers so far, to what stands for them; it is added to.
        is_layer: bool, whether a dict is of a layer, by its place.
    """
    if isinstance(node, list):
        return [_without_counts(part, names, is_layer) for part in node]
    if not isinstance(node, dict):
        return node
    own = node.get("config")
    if isinstance(own, dict) and "name" in own and (is_layer or "trainable" in own):
        # A model's layers are named before those that they are connected by.
        number = names.setdefault(own["name"], f"#{len(names)}")
        node = {**node, "config": {**own, "name": number}}
        if "name" in node:
            node["name"] = number
    found = {}
    for key, part in node.items():
        if key in _LINKS:
            found[key] = _renamed(part, names)
        elif key != "shared_object_id":
            found[key] = _without_counts(part, names, key == "layers")
    return found


def _renamed(links, names: dict):
    if isinstance(links, dict):
        return {key: _renamed(part, names) for key, part in links.items()}
    if isinstance(links, list):
        return [_renamed(part, names) for part in links]
    if not isinstance(links, str):
        return links
    return names.setdefault(links, f"#{len(names)}")


def _read(path: Path, dtype: Any) -> np.ndarray | None:
    """Features that were kept, of a type; None where the file is damaged."""
    try:
        arrays, _ = read_arrays(path, ["features"])
    except ValueError:
        return None
    features = arrays.get("features")
    if features is not None and features.dtype.kind == "V":
        # Files know no bfloat16, but its bytes.
        features = features.view(dtype)
    return features
