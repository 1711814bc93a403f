"""Functional networks as graphs: copies with nested models opened, and the way back."""

from __future__ import annotations

import inspect
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_ebm.rows import Spec

#: Names that Keras gives to inputs which were given none.
_UNNAMED = re.compile(r"(input_layer|keras_tensor|input)(_\d+)?")


def is_functional(model: keras.Model) -> bool:
    """Whether a model is what its tensors say: functional, or a built `Sequential`."""
    if not (getattr(model, "inputs", None) and getattr(model, "outputs", None)):
        return False
    # A subclass may have tensors, and a call of its own beside them.
    return type(model).call.__module__.startswith("keras.")


def input_struct(model: keras.Model) -> Any:
    """The only tensor that a functional model takes, or its dict or list of several."""
    return model.inputs[0] if len(model.inputs) == 1 else model.input


class Graph(NamedTuple):
    """What a functional model is: tensors that it takes, by name, and gives."""

    inputs: dict[str, Any]
    outputs: list

    @property
    def struct(self):
        """The only input, or the inputs by their names."""
        return self.inputs if len(self.inputs) > 1 else next(iter(self.inputs.values()))


def graph_of(model: keras.Model) -> Graph:
    """The graph of a functional model; its only input is `inputs` if it has no name."""
    struct = input_struct(model)
    if isinstance(struct, dict):
        return Graph(dict(struct), list(model.outputs))
    names = [x._keras_history.operation.name for x in model.inputs]
    if len(names) == 1 and _UNNAMED.fullmatch(names[0]):
        names = ["inputs"]
    return Graph(dict(zip(names, model.inputs, strict=True)), list(model.outputs))


def specs_of(model: keras.Model) -> Spec:
    """Specs of a functional model's inputs; of one, or of several by name."""
    specs = {
        name: tf.TensorSpec((None, *x.shape[1:]), x.dtype, name=name)
        for name, x in graph_of(model).inputs.items()
    }
    return specs if len(specs) > 1 else next(iter(specs.values()))


def flatten(graph: Graph, copied: Callable | None = None) -> Graph:
    """Runs the layers of a graph anew, nested models opened.

    Args:
        graph: it is left as it is where its layers are copied.
        copied: callable from a layer and a name to the one that takes its place, or
            None for the layers themselves.

    Returns:
        The same of new tensors. Batches are of any size, whatever it was built by.
    """
    inputs = {
        name: keras.Input(tuple(x.shape)[1:], dtype=x.dtype, name=name)
        for name, x in graph.inputs.items()
    }
    values = {id(x): inputs[name] for name, x in graph.inputs.items()}
    run = _Run(copied, inputs)
    outputs = run.outputs(graph.outputs, values)
    run.copy_states()
    return Graph(inputs, outputs)


def run(outputs: list, values: dict) -> list:
    """New tensors of old ones by the same layers; `values` maps some by their id."""
    return _Run(None, ()).outputs(outputs, values)


class _Run:
    """Runs graphs anew; a layer that is called twice has one copy."""

    def __init__(self, copied: Callable | None, names: Iterable[str]):
        self._copied = copied
        self._copies: dict[int, Any] = {}
        self._names = set(names)

    def outputs(self, outputs, values: dict, training: bool | None = None) -> list:
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
            made = self._call(operation, node, values, training)
            for old, new in zip(node.outputs, tree.flatten(made), strict=True):
                values[id(old)] = new
            waiting.pop()
        return [values[id(output)] for output in outputs]

    def _call(self, operation, node, values, training):
        def new(argument):
            return values.get(id(argument), argument)

        args = tree.map_structure(new, node.arguments.args)
        kwargs = tree.map_structure(new, node.arguments.kwargs)
        if training is not None and _takes_training(operation):
            # As the model around it was called.
            kwargs["training"] = training
        if _can_be_opened(operation, args, kwargs):
            told = kwargs.get("training")
            given = tree.flatten(args)
            own = {id(x): g for x, g in zip(operation.inputs, given, strict=True)}
            return self.outputs(operation.outputs, own, told)
        return self._copy(operation, args)(*args, **kwargs)

    def _copy(self, operation, args):
        if self._copied is None or not isinstance(operation, keras.layers.Layer):
            return operation
        if id(operation) not in self._copies:
            copy = self._copied(operation, self._new_name(operation.name))
            if isinstance(operation, keras.Model) and not is_functional(operation):
                # Its parts are built by what they are given, which symbols are not.
                with warnings.catch_warnings():
                    # Of classes without a method `build`, which Keras gets along with.
                    warnings.filterwarnings("ignore", r"`build\(\)` was called")
                    copy(*tree.map_structure(_zeros, args))
            self._copies[id(operation)] = operation, copy
        return self._copies[id(operation)][1]

    def _new_name(self, name: str) -> str:
        """The name, or with a number where layers of opened models share it."""
        free, number = name, 2
        while free in self._names:
            free, number = f"{name}_{number}", number + 1
        self._names.add(free)
        return free

    def copy_states(self) -> None:
        """Gives the copies the weights of their originals."""
        for layer, copy in self._copies.values():
            copy_state(layer, copy)


def _zeros(argument):
    """A row of zeros in the place of a symbol; sizes that are not known are 8."""
    if not isinstance(argument, keras.KerasTensor):
        return argument
    shape = 1, *(size or 8 for size in argument.shape[1:])
    if keras.backend.standardize_dtype(argument.dtype) == "string":
        return ops.convert_to_tensor(np.full(shape, ""), dtype="string")
    return ops.zeros(shape, argument.dtype)


def _takes_training(operation) -> bool:
    if not isinstance(operation, keras.layers.Layer):
        return False
    return "training" in inspect.signature(operation.call).parameters


def _can_be_opened(operation, args, kwargs) -> bool:
    """Whether a call is of a nested model, of its inputs alone."""
    more = {name for name, value in kwargs.items() if value is not None}
    return (
        isinstance(operation, keras.Model)
        and is_functional(operation)
        and more <= {"training"}
        and len(tree.flatten(args)) == len(operation.inputs)
    )


def copy_layer(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
    """A layer of the same configuration, that has no weights yet.

    Args:
        layer: Keras layer.
        name: of the copy.

    Raises:
        ValueError: if the layer's class cannot make one.
    """
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
    try:
        copy = type(layer).from_config({**layer.get_config(), "name": name})
    except Exception as error:  # of many kinds, as the class may be anybody's
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"`model` must be of layers that can be copied. Received: {layer.name!r} "
            f"of class {type(layer).__name__}, which cannot ({type(error).__name__}: "
            f"{reason}); give the class a get_config that returns the arguments of its "
            "constructor, or pass copy=False, which takes the model's own layers."
        ) from error
    for old, new in zip(layer._flatten_layers(), copy._flatten_layers(), strict=False):
        _copy_vocabulary(old, new)
    return copy


def _copy_vocabulary(old, new) -> None:
    """What a layer looks words or bins up in, on which its output's shape rests."""
    if getattr(old, "bin_boundaries", None) is not None:
        new.bin_boundaries = old.bin_boundaries
    if hasattr(old, "get_vocabulary") and hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def copy_state(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Gives a built copy the weights of a layer, and freezes what is frozen there."""
    copy.set_weights(layer.get_weights())
    pairs = zip(layer._flatten_layers(), copy._flatten_layers(), strict=True)
    for old, new in pairs:
        new.trainable = old.trainable
        if isinstance(new, keras.layers.Normalization):
            # Its constants are made of its weights.
            new.finalize_state()


def largest_tensor(model: keras.Model) -> int:
    """Numbers of a row's largest tensor inside a model, 0 where nothing shows it.

    Sizes that are not known count as 8.
    """
    if not is_functional(model):
        return 0
    sizes = [0]
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            sizes.append(largest_tensor(layer))
        for node in layer._inbound_nodes:
            shapes = [tensor.shape[1:] for tensor in node.outputs]
            sizes += [int(np.prod([n or 8 for n in shape])) for shape in shapes]
    return max(sizes)


def last_activation(model: keras.Model) -> str:
    """Name of the activation that a functional model ends with; unknown of most."""
    operation, _ = producer(before_passing(model.outputs[0]))
    if isinstance(operation, keras.Model) and is_functional(operation):
        return last_activation(operation)
    return activation_of(operation)


def before_passing(tensor: Any) -> Any:
    """What dropout, identities and linear activations at the end are of."""
    while True:
        operation, inputs = producer(tensor)
        linear = isinstance(operation, keras.layers.Activation)
        linear = linear and activation_of(operation) == "linear"
        passing = isinstance(operation, keras.layers.Dropout | keras.layers.Identity)
        if not (passing or linear):
            return tensor
        tensor = inputs[0]


def activation_of(operation: Any) -> str:
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


def share_variables(layer: keras.layers.Layer, other: keras.layers.Layer) -> None:
    """Gives a built layer the variables of another of its class and configuration."""
    pairs = zip(layer._flatten_layers(), other._flatten_layers(), strict=True)
    for source, target in pairs:
        for name, value in list(vars(target).items()):
            if isinstance(value, keras.Variable):
                target._untrack_variable(value)
                target._tracker.unlock()
                setattr(target, name, getattr(source, name))
                target._tracker.lock()


def producer(tensor: Any) -> tuple:
    """The operation that gives a Keras tensor, and the tensors that it takes."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index].input_tensors


def origins(outputs: Iterable, stop: Any = None) -> Iterator[tuple]:
    """Goes back from tensors to all that they come of, each once.

    Args:
        outputs: Keras tensors.
        stop: Keras tensor, behind which nothing is looked at, nor it itself; or None.

    Yields:
        `(tensor, operation, inputs)`: a tensor, what gives it, and what that takes.
    """
    waiting, seen = list(outputs), {id(stop)}
    while waiting:
        tensor = waiting.pop(0)
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, inputs = producer(tensor)
        yield tensor, operation, inputs
        waiting += inputs


def head_of(tensor: Any) -> tuple:
    """The last layer with weights on the way to a tensor, and the tensor it takes.

    Returns:
        `(layer, tensor)`; `(None, None)` where ways meet before there is one.
    """
    while True:
        operation, inputs = producer(tensor)
        if len(inputs) != 1:
            return None, None
        if isinstance(operation, keras.layers.Layer) and operation.weights:
            return operation, inputs[0]
        tensor = inputs[0]


def has_layers(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a model of several layers with weights."""
    own = [part for part in layer._flatten_layers() if part._layers == []]
    return isinstance(layer, keras.Model) and sum(bool(p.weights) for p in own) > 1


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
