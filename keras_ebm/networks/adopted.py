"""A trained Keras classifier as an energy network."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from keras_ebm.arguments import check_choice
from keras_ebm.layers.class_logits import BinaryLogits, LogOdds, LogProbabilities
from keras_ebm.networks.graphs import (
    Graph,
    activation_of,
    before_passing,
    copy_layer,
    flatten,
    graph_of,
    is_functional,
    origins,
    producer,
    run,
    share_variables,
)
from keras_ebm.rows import as_array, is_text

OUTPUTS = ("auto", "logits", "softmax", "sigmoid", "binary_logits")
_REGRESSIONS = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "mse")
#: Rows on which a network shows whether it gives probabilities, and what it takes.
_PROBES = 8


class _Output(NamedTuple):
    """The tensor before a last activation, and that one's name; unknown of most."""

    tensor: object
    kind: str


def from_classifier(
    model: keras.Model,
    output: str = "auto",
    *,
    example: Any = None,
    freeze_statistics: bool = True,
    input_dtype: str | None = None,
    copy: bool = True,
) -> keras.Model:
    """Turns a trained classifier into a network of logits, for `EnergyModel` and kin.

    The given model is left as it is. The network has its weights and its frozen layers,
    takes its inputs in batches of any size, and computes in its precision. Its
    penultimate features are what its last layer with weights takes, below an
    activation, dropout or in a nested model.

    A last softmax is taken off; one that only the numbers show is undone by logarithms.
    A sigmoid unit `f` becomes two logits, `[0, f]`, of which class 1 is the yes.

    Args:
        model: classifier of one output `(batch, K)`: functional or `Sequential`, or a
            class of its own; of one input or several, of numbers or strings.
        output: what its output is: `"logits"`, `"softmax"` probabilities, a
            `"sigmoid"`'s of one unit, one unit's `"binary_logits"`, or `"auto"`: what
            its last layers, or else its numbers, say.
        example: a few rows as the model takes them, an array or a dict of arrays, for
            a model of a class of its own, or one that was never called.
        freeze_statistics: bool, freezes batch normalisation when the network is trained
            further: data and negatives are then normalised alike, by statistics of the
            training that was. False trains it on; negatives do not enter its moving
            statistics then.
        input_dtype: type that a batch of the only input has, such as `"uint8"` of
            images, which an export then takes as they are; None: the model's own.
        copy: bool. False: the network is made of the model's own layers and variables,
            and is trained and frozen with it.

    Returns:
        Functional network to logits `(batch, K)`, K >= 2, from the model's input, or
        from a dict of its inputs by their names.

    Raises:
        ValueError: if the model is no such classifier: not built, of several outputs,
            of another rank, a regression or of several labels a row; or if a layer
            cannot be copied.

    Example:

    >>> network = ebm.networks.from_classifier(trained)
    >>> detector = ebm.ood.Detector.calibrate(ebm.EnergyModel(network), x_known)
    """
    check_choice("output", output, OUTPUTS)
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a Keras model. Received: {model!r}.")
    _check_loss(model)
    original = _graph_of(model, example)
    _check_graph(model, original)
    graph = flatten(original, copy_layer if copy else None)
    found = _last_activation(graph.outputs[0], shared=not copy)
    kind = _kind_of(model, original, found) if output == "auto" else output
    _check_units(model, original, kind)
    logits = _logits_of(graph.outputs[0], found, kind)
    network = keras.Model(graph.struct, logits, name=model.name)
    if input_dtype is not None:
        network = _with_input_dtype(network, input_dtype)
    if freeze_statistics:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return network


def _graph_of(model, example) -> Graph:
    """The graph of a model, of a class of its own too."""
    if is_functional(model):
        return graph_of(model)
    inputs = _inputs_of(model, example)
    struct = Graph(inputs, []).struct
    if isinstance(model, keras.Sequential):
        outputs = struct
        for layer in model.layers:
            outputs = _called(layer, outputs, model, example)
        return Graph(inputs, [outputs])
    if not model.built:
        _called(model, struct, model, example)
    outputs = _opened_call(model, struct)
    if outputs is None:
        outputs = _called(model, struct, model, example)
    return Graph(inputs, tree.flatten(outputs))


def _called(layer, inputs, model, example):
    """What a layer of a model gives for symbols; told of the example if it cannot."""
    try:
        return layer(inputs)
    except Exception as error:  # of many kinds, as a call may do anything
        given = type(example).__name__ if example is not None else "None"
        # Keras writes in bold, and what it was given behind.
        text = re.sub(r"\x1b\[\d*m", "", str(error)).split("Arguments received")[0]
        lines = [line for line in text.splitlines() if line.strip()]
        raise ValueError(
            "`example` must be a few rows as the model takes them, an array or a dict "
            f"of arrays. Received: example of type {given}, which {model.name!r} does "
            f"not take ({type(error).__name__}: {lines[-1] if lines else ''})."
        ) from error


def _opened_call(model, inputs):
    """What a model's call does to symbols: a graph of the layers within.

    None where the call does what symbols cannot, or is another in training than
    outside: of a graph that would be lost.
    """
    takes = "training" in inspect.signature(model.call).parameters
    try:
        if takes:
            modes = [model.call(inputs, training=mode) for mode in (True, False)]
            if len({tuple(_operations(outputs)) for outputs in modes}) > 1:
                return None
        return model.call(inputs)
    except Exception:  # of many kinds, as a call may do anything
        return None


def _operations(outputs) -> list[str]:
    """Names of the operations that tensors come of."""
    names = []
    for _, operation, _ in origins(tree.flatten(outputs)):
        layer = isinstance(operation, keras.layers.Layer)
        names.append(operation.name if layer else type(operation).__name__)
    return sorted(names)


def _inputs_of(model, example) -> dict:
    """Symbols for the inputs of a model that does not know them, by name."""
    if example is not None:
        arrays = example if isinstance(example, dict) else {"inputs": example}
        arrays = {name: as_array(rows) for name, rows in arrays.items()}
        return {
            name: keras.Input(
                rows.shape[1:],
                dtype="string" if is_text(rows) else rows.dtype.name,
                name=name,
            )
            for name, rows in arrays.items()
        }
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    (shape,) = shapes.values() if len(shapes) == 1 else (None,)
    if isinstance(shape, dict):
        return {n: keras.Input(tuple(s)[1:], name=n) for n, s in shape.items()}
    if isinstance(shape, tuple) and all(isinstance(s, int | None) for s in shape):
        return {"inputs": keras.Input(shape[1:], name="inputs")}
    raise ValueError(
        "`example` must be given as a few rows of a model that does not know its "
        f"inputs, which was never called or is of a class of its own. Received: "
        f"{model.name!r} of class {type(model).__name__}, and example=None."
    )


def _refuse(model, rule: str, received: str) -> ValueError:
    return ValueError(f"`model` must be {rule}. Received: {model.name!r}, {received}")


def _check_graph(model, graph: Graph) -> None:
    if len(graph.outputs) != 1:
        raise _refuse(
            model,
            "a classifier of one output",
            f"which has {len(graph.outputs)} outputs; choose one by "
            "keras.Model(inputs, output).",
        )
    for name, tensor in graph.inputs.items():
        if getattr(tensor, "ragged", False) or getattr(tensor, "sparse", False):
            raise _refuse(
                model,
                "a classifier of dense inputs",
                f"whose input {name!r} is ragged or sparse; pad its rows, as by "
                "to_tensor(), in front of the model.",
            )
    shape = tuple(graph.outputs[0].shape)
    if len(shape) != 2 or shape[-1] is None:
        raise _refuse(
            model,
            "a classifier with an output of shape (batch, K)",
            f"whose output has shape {shape}.",
        )
    if _loss_name(model) == "binary_crossentropy" and shape[-1] > 1:
        raise _refuse(
            model,
            "a classifier of one label a row",
            f"of {shape[-1]} outputs, which was compiled with binary_crossentropy: "
            "several labels a row define no energy.",
        )


def _check_loss(model) -> None:
    loss = _loss_name(model)
    if loss in _REGRESSIONS:
        raise _refuse(
            model,
            "a classifier",
            f"which was compiled with the loss {loss} of a regression; give `output`, "
            "and the model uncompiled, if it is a classifier all the same.",
        )


def _loss_name(model) -> str:
    """The loss that a model was compiled with, as Keras names it; empty if unknown."""
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    return name or getattr(loss, "__name__", "") or ""


def _last_activation(tensor, shared: bool) -> _Output:
    """The tensor before the last activation, and which that is.

    A layer that ends with it is made anew without; `shared`: with the same variables.
    """
    tensor = before_passing(tensor)
    operation, inputs = producer(tensor)
    kind = activation_of(operation)
    if kind not in ("softmax", "sigmoid"):
        return _Output(tensor, kind)
    if _is_separate(operation):
        return _Output(inputs[0], kind)
    return _Output(_made_linear(operation, inputs, shared), kind)


def _is_separate(operation) -> bool:
    """Whether an operation is an activation and nothing else."""
    separate = keras.layers.Activation | keras.layers.Softmax
    return isinstance(operation, separate) or not isinstance(
        operation, keras.layers.Layer
    )


def _made_linear(layer, inputs, shared: bool):
    """What a layer gives without its activation."""
    config = {**layer.get_config(), "activation": "linear"}
    plain = type(layer).from_config(config)
    tensor = plain(*inputs)
    if shared:
        share_variables(layer, plain)
    else:
        plain.set_weights(layer.get_weights())
    return tensor


def _kind_of(model, graph: Graph, found: _Output) -> str:
    """What an output is by its last activation or, where that says nothing, numbers."""
    units = graph.outputs[0].shape[-1]
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
    if _gives_probabilities(model, graph):
        return "softmax"
    if found.kind in ("linear", "unknown"):
        return "logits"
    raise _refuse(
        model,
        "a classifier that ends in logits, a softmax or a sigmoid",
        f"which ends in {found.kind}; give `output` if these are logits.",
    )


def _check_units(model, graph: Graph, kind: str) -> None:
    units, binary = graph.outputs[0].shape[-1], kind in ("sigmoid", "binary_logits")
    if binary != (units == 1):
        raise ValueError(
            f"`output` {kind!r} must be of {'one unit' if binary else 'K > 1 units'}. "
            f"Received: {model.name!r}, which has {units}."
        )


def _gives_probabilities(model, graph: Graph) -> bool:
    """Whether rows of the output sum to 1 for inputs of several sizes."""
    outputs = []
    for scale in (1.0, 100.0):
        x = {name: _probe(spec, scale) for name, spec in graph.inputs.items()}
        try:
            rows = model(Graph(x, []).struct, training=False)
        except Exception as error:  # of many kinds, as a call may do anything
            raise _refuse(
                model,
                "a classifier whose output is known",
                f"which takes no random rows ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); give `output`, one of {OUTPUTS[1:]}.",
            ) from error
        outputs.append(ops.convert_to_numpy(rows).astype(np.float64))
    rows = np.concatenate(outputs)
    # Half precision sums to within a hundredth.
    return bool((rows >= 0.0).all() and np.allclose(rows.sum(axis=-1), 1.0, atol=0.01))


def _probe(spec, scale: float):
    """Random rows of an input: numbers, 0 and 1, or words."""
    shape = [_PROBES, *(size or 8 for size in spec.shape[1:])]
    values = np.random.default_rng(0).random(shape)
    kind = keras.backend.standardize_dtype(spec.dtype)
    if kind == "string":
        words = np.where(values < 0.5, "a", "b c")
        return ops.convert_to_tensor(words, dtype="string")
    if "float" in kind:
        return ops.convert_to_tensor(scale * values, dtype=kind)
    return ops.convert_to_tensor((2 * values).astype(np.int32), dtype=kind)


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


def _with_input_dtype(network: keras.Model, dtype: str) -> keras.Model:
    """The network behind a change of its input's type."""
    if len(network.inputs) != 1:
        raise ValueError(
            "`input_dtype` must be of the only input. Received: "
            f"input_dtype={dtype!r} for {network.name!r}, which has "
            f"{len(network.inputs)} inputs."
        )
    graph = graph_of(network)
    (name,), (old,) = graph.inputs, graph.inputs.values()
    raw = keras.Input(old.shape[1:], dtype=dtype, name=name)
    (logits,) = run(graph.outputs, {id(old): ops.cast(raw, old.dtype)})
    return keras.Model(raw, logits, name=network.name)
