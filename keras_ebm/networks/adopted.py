"""A trained Keras classifier as an energy network."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from keras_ebm.arguments import check_choice
from keras_ebm.layers.class_logits import BinaryLogits, LogOdds, LogProbabilities
from keras_ebm.networks.graphs import flatten, is_functional, producer

OUTPUTS = ("auto", "logits", "softmax", "sigmoid", "binary_logits")
#: The layer whose input are the penultimate features, see `with_features`.
HEAD = "logits"
_REGRESSIONS = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "mse")
#: Rows on which a network shows whether it gives probabilities.
_PROBES = 8


class _Output(NamedTuple):
    """The tensor before a last activation, and that one's name; unknown of most."""

    tensor: object
    kind: str


def from_classifier(
    model: keras.Model, output: str = "auto", *, freeze_statistics: bool = True
) -> keras.Model:
    """Turns a trained classifier into a network of logits, for `EnergyModel` and kin.

    The given model is left as it is. The network has its weights and its frozen layers,
    takes its inputs in batches of any size, and computes in its precision. Its layer
    `"logits"` takes the penultimate features, wherever they were: below an activation,
    dropout or in a nested model.

    A last softmax is taken off; one that only the numbers show is undone by logarithms.
    A sigmoid unit `f` becomes two logits, `[0, f]`, of which class 1 is the yes.

    Args:
        model: built functional or `Sequential` classifier, nested models included, of
            one input and one output `(batch, K)`.
        output: what its output is: `"logits"`, `"softmax"` probabilities, a
            `"sigmoid"`'s of one unit, one unit's `"binary_logits"`, or `"auto"`: what
            its last layers, or else its numbers, say.
        freeze_statistics: bool, freezes batch normalisation when the network is trained
            further: data and negatives are then normalised alike, by statistics of the
            training that was. False trains it on; negatives do not enter its moving
            statistics then.

    Returns:
        Functional network from the model's input to logits `(batch, K)`, K >= 2.

    Raises:
        ValueError: if the model is no such classifier: not built, of several inputs or
            outputs, of another rank, a regression or of several labels a row.

    Example:

    >>> network = ebm.networks.from_classifier(trained)
    >>> detector = ebm.ood.Detector.calibrate(ebm.EnergyModel(network), x_known)
    """
    check_choice("output", output, OUTPUTS)
    _check_model(model)
    copy = keras.models.clone_model(model, clone_function=_cloned)
    copy.set_weights(model.get_weights())
    (inputs,), (tensor,) = flatten(copy)
    found = _last_activation(tensor)
    kind = _kind_of(model, found) if output == "auto" else output
    _check_units(model, kind)
    logits = _logits_of(tensor, found, kind)
    network = _with_named_head(keras.Model(inputs, logits, name=model.name))
    if freeze_statistics:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return network


def _cloned(layer, name: str | None = None):
    """A layer of the same configuration, without its weights."""
    name = name or layer.name
    if isinstance(layer, keras.layers.Lambda):
        # Its function is at hand here, and needs no trust in a file.
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=name,
            dtype=layer.dtype_policy,
        )
    return type(layer).from_config({**layer.get_config(), "name": name})


def _refuse(model, rule: str, received: str) -> ValueError:
    return ValueError(f"`model` must be {rule}. Received: {model.name!r}, {received}")


def _check_model(model) -> None:
    if not is_functional(model):
        raise ValueError(
            "`model` must be a built functional or Sequential Keras model. Received: "
            f"{model!r}; call it on a batch once, or wrap a model of a class of your "
            "own: x = keras.Input(shape); keras.Model(x, model(x))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise _refuse(
            model,
            "a classifier of one input and one output",
            f"which has {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
            "choose one by keras.Model(inputs, output).",
        )
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2 or shape[-1] is None:
        raise _refuse(
            model,
            "a classifier with an output of shape (batch, K)",
            f"whose output has shape {shape}.",
        )
    loss = _loss_name(model)
    if loss in _REGRESSIONS:
        raise _refuse(
            model,
            "a classifier",
            f"which was compiled with the loss {loss} of a regression; give `output`, "
            "and the model uncompiled, if it is a classifier all the same.",
        )
    if loss == "binary_crossentropy" and shape[-1] > 1:
        raise _refuse(
            model,
            "a classifier of one label a row",
            f"of {shape[-1]} outputs, which was compiled with binary_crossentropy: "
            "several labels a row define no energy.",
        )


def _loss_name(model) -> str:
    """The loss that a model was compiled with, as Keras names it; empty if unknown."""
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    return name or getattr(loss, "__name__", "") or ""


def _last_activation(tensor) -> _Output:
    """The tensor before the last activation, and which that is."""
    while True:
        operation, inputs = producer(tensor)
        if isinstance(operation, keras.layers.Dropout | keras.layers.Identity):
            tensor = inputs[0]
            continue
        kind = _activation_of(operation)
        if kind == "linear" and isinstance(operation, keras.layers.Activation):
            tensor = inputs[0]
        elif kind not in ("softmax", "sigmoid"):
            return _Output(tensor, kind)
        elif _is_separate(operation):
            return _Output(inputs[0], kind)
        else:
            return _Output(_made_linear(operation, inputs), kind)


def _is_separate(operation) -> bool:
    """Whether an operation is an activation and nothing else."""
    separate = keras.layers.Activation | keras.layers.Softmax
    return isinstance(operation, separate) or not isinstance(
        operation, keras.layers.Layer
    )


def _activation_of(operation) -> str:
    """Name of the activation that an operation ends with; unknown of most."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax" if operation.axis in (-1, 1) else "unknown"
    if not isinstance(operation, keras.layers.Layer):
        # An operation of keras.ops; a softmax over another axis is none of classes.
        kind = type(operation).__name__.lower()
        known = kind == "sigmoid" or (
            kind == "softmax" and getattr(operation, "axis", -1) in (-1, 1)
        )
        return kind if known else "unknown"
    activation = getattr(operation, "activation", None)
    return getattr(activation, "__name__", "unknown")


def _made_linear(layer, inputs):
    """What a layer gives without its activation."""
    config = {**layer.get_config(), "activation": "linear"}
    plain = type(layer).from_config(config)
    tensor = plain(*inputs)
    plain.set_weights(layer.get_weights())
    return tensor


def _kind_of(model, found: _Output) -> str:
    """What an output is by its last activation or, where that says nothing, numbers."""
    units = model.outputs[0].shape[-1]
    if found.kind == "sigmoid" and units > 1:
        raise _refuse(
            model,
            "a classifier of one label a row",
            f"whose {units} outputs are sigmoids: several labels a row define no "
            "energy.",
        )
    if found.kind == "softmax" or (found.kind == "sigmoid" and units == 1):
        return found.kind
    if units == 1:
        raise _refuse(
            model,
            "a classifier of two classes or more, or end in a sigmoid",
            "which has one output without one; give output='binary_logits' if that is "
            "the logit of class 1. A regression has no energy of this kind.",
        )
    if _gives_probabilities(model):
        return "softmax"
    if found.kind in ("linear", "unknown"):
        return "logits"
    raise _refuse(
        model,
        "a classifier that ends in logits, a softmax or a sigmoid",
        f"which ends in {found.kind}; give `output` if these are logits.",
    )


def _check_units(model, kind: str) -> None:
    units, binary = model.outputs[0].shape[-1], kind in ("sigmoid", "binary_logits")
    if binary != (units == 1):
        raise ValueError(
            f"`output` {kind!r} must be of {'one unit' if binary else 'K > 1 units'}. "
            f"Received: {model.name!r}, which has {units}."
        )


def _gives_probabilities(model) -> bool:
    """Whether rows of the output sum to 1 for inputs of several sizes."""
    (spec,) = model.inputs
    shape = [_PROBES, *(size or 8 for size in spec.shape[1:])]
    rng = np.random.default_rng(0)
    floating = "float" in keras.backend.standardize_dtype(spec.dtype)
    outputs = []
    for scale in (1.0, 100.0) if floating else (1.0,):
        x = scale * rng.random(shape)
        x = x.astype("float32") if floating else (2 * x).astype(np.int32)
        outputs.append(np.asarray(model(x, training=False), np.float64))
    rows = np.concatenate(outputs)
    # Half precision sums to within a hundredth.
    return bool((rows >= 0.0).all() and np.allclose(rows.sum(axis=-1), 1.0, atol=0.01))


def _logits_of(tensor, found: _Output, kind: str):
    """Logits `(batch, K)` of an output of one of `OUTPUTS`."""
    if found.kind == kind:
        tensor = found.tensor
    elif kind == "softmax":
        tensor = LogProbabilities(dtype="float32")(tensor)
    elif kind == "sigmoid":
        tensor = LogOdds(dtype="float32")(tensor)
    if kind in ("sigmoid", "binary_logits"):
        tensor = BinaryLogits(dtype="float32")(tensor)
    return tensor


def _with_named_head(network: keras.Model) -> keras.Model:
    """A copy whose layer that makes the logits bears the name `HEAD`."""
    head = _head_of(network.outputs[0])

    def renamed(layer):
        if layer is head:
            return _cloned(layer, HEAD)
        return _cloned(layer, f"{HEAD}_inner" if layer.name == HEAD else layer.name)

    copy = keras.models.clone_model(network, clone_function=renamed)
    copy.set_weights(network.get_weights())
    for old, new in zip(network._flatten_layers(), copy._flatten_layers(), strict=True):
        new.trainable = old.trainable
    return copy


def _head_of(tensor):
    """The last layer with weights on the way to a tensor; None where ways meet."""
    while True:
        operation, inputs = producer(tensor)
        if isinstance(operation, keras.layers.Layer) and operation.weights:
            return operation
        if len(inputs) != 1:
            return None
        tensor = inputs[0]
