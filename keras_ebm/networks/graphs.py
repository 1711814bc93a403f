"""Functional networks as graphs: nested models opened, the way back from an output."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree


def is_functional(model: keras.Model) -> bool:
    """Whether a model's tensors are known: functional, or a built `Sequential`."""
    return bool(getattr(model, "inputs", None) and getattr(model, "outputs", None))


def flatten(model: keras.Model) -> tuple[list, list]:
    """Runs the layers of a functional model anew, nested models opened.

    Args:
        model: functional, of which it is a copy that nobody else holds, as its layers
            are called once more.

    Returns:
        `(inputs, outputs)`: lists of Keras tensors. Batches are of any size, whatever
        size the model was built by.
    """
    inputs = [
        keras.Input(tuple(x.shape)[1:], dtype=x.dtype, name=_input_name(x))
        for x in model.inputs
    ]
    values = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    return inputs, _run(model.outputs, values)


def _input_name(tensor) -> str:
    return tensor._keras_history.operation.name


def _run(outputs, values: dict) -> list:
    """New tensors of old ones; `values` maps those that are there by id."""
    # Not recursive: networks are deeper than Python's stack.
    waiting = list(outputs)
    while waiting:
        tensor = waiting[-1]
        if id(tensor) in values:
            waiting.pop()
            continue
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        absent = [x for x in node.input_tensors if id(x) not in values]
        if absent:
            waiting += absent
            continue
        made = _call(operation, node, values)
        for old, new in zip(node.outputs, tree.flatten(made), strict=True):
            values[id(old)] = new
        waiting.pop()
    return [values[id(output)] for output in outputs]


def _call(operation, node, values):
    arguments = node.arguments

    def new(argument):
        return values.get(id(argument), argument)

    args = tree.map_structure(new, arguments.args)
    kwargs = tree.map_structure(new, arguments.kwargs)
    if isinstance(operation, keras.Model) and is_functional(operation):
        inner = tree.flatten(args)[: len(operation.inputs)]
        own = {id(old): x for old, x in zip(operation.inputs, inner, strict=True)}
        return _run(operation.outputs, own)
    return operation(*args, **kwargs)


def producer(tensor: Any) -> tuple:
    """The operation that gives a Keras tensor, and the tensors that it takes."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index].input_tensors


def codes_of(network: keras.Model) -> str | None:
    """What shows that a network's inputs are codes, such as tokens, or None.

    They are where an input is of integers, or an Embedding looks up what comes from an
    input as it is. Networks that are not functional show nothing.

    Args:
        network: Keras model.
    """
    if not is_functional(network):
        return None
    for x in network.inputs:
        dtype = keras.backend.standardize_dtype(x.dtype)
        if "int" in dtype or dtype in ("bool", "string"):
            return f"network {network.name!r} with inputs of {dtype}"
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Embedding) and _reads_inputs(layer):
            return f"network {network.name!r}, whose inputs {layer.name!r} looks up"
    return None


def _reads_inputs(layer) -> bool:
    """Whether a layer takes inputs of its model, by operations without weights."""
    waiting = [x for node in layer._inbound_nodes for x in node.input_tensors]
    while waiting:
        operation, inputs = producer(waiting.pop())
        if isinstance(operation, keras.layers.InputLayer):
            return True
        if not getattr(operation, "weights", None):
            waiting += inputs
    return False
