"""Floating-point operations of a training step, counted on its graph."""

import contextlib

import tensorflow as tf
from absl import logging
from keras import tree

from keras_ebm.gradients import energy_and_gradient
from keras_ebm.negatives import as_source
from keras_ebm.networks.graphs import input_struct, is_functional


def count_flops(function, *specs) -> int:
    """Floating-point operations of one call, a multiplication and an addition two.

    Counted are the operations that TensorFlow's profiler has a rule for (matrix
    products, convolutions and their gradients, elementwise arithmetic); bodies of
    loops and branches are not.

    Args:
        function: callable of tensors.
        *specs: `tf.TensorSpec` of each argument, of known shape.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    needed = _needed(graph)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with _silence():
        root = tf.compat.v1.profiler.profile(graph, cmd="scope", options=options)
    return _total(root, needed)


def _needed(graph) -> set[str]:
    """Names of the operations that the graph's results depend on.

    A gradient's graph holds those of all inputs of an operation until it is run.
    """
    ahead = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    seen = set()
    while ahead:
        operation = ahead.pop()
        if operation.name not in seen:
            seen.add(operation.name)
            ahead += [tensor.op for tensor in operation.inputs]
            ahead += operation.control_inputs
    return seen


def _total(node, needed) -> int:
    own = node.float_ops if node.name in needed else 0
    return own + sum(_total(child, needed) for child in node.children)


@contextlib.contextmanager
def _silence():
    """Keeps the profiler's notes on its own future out of stderr."""
    level, verbosity = tf.get_logger().level, logging.get_verbosity()
    tf.get_logger().setLevel("ERROR")
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        tf.get_logger().setLevel(level)
        logging.set_verbosity(verbosity)


def _network_inputs(network, rows: int):
    """Specs of a batch of preprocessed inputs, of several as the network takes them."""
    if not is_functional(network) or len(network.inputs) == 1:
        return tf.TensorSpec((rows, *network.input_shape[1:]), tf.float32)
    return tree.map_structure(
        lambda part: tf.TensorSpec((rows, *part.shape[1:]), part.dtype),
        input_struct(network),
    )


def step_flops(model, x, y) -> dict:
    """Operations of one training step, for each row of the batch.

    Args:
        model: compiled `EnergyModel`.
        x: raw rows, `(batch, ...)`, or a dict of them.
        y: labels, `(batch,)`.

    Returns:
        Dict of ints: `flops_energy`, one pass of the energy network; `flops_chain`,
        the steps of a row's chain (0 without chains); `flops_step`, all of it.
    """
    rows = int(y.shape[0])
    inputs = _network_inputs(model.network, rows)
    given = tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), x)
    data = (given, tf.TensorSpec(y.shape, y.dtype))
    labels = tf.zeros([rows], tf.int32) if model.conditional else None
    energy_fn = model.energy_fn(labels)
    source, chain = as_source(model.negatives), 0
    if source is not None and source.num_gradients:
        gradient = count_flops(lambda v: energy_and_gradient(energy_fn, v), inputs)
        chain = int(source.num_gradients * gradient)
    # The chain is a loop, whose body is not in the count of the step.
    step = count_flops(lambda *pair: model.train_step(pair), *data) + chain
    return {
        "flops_energy": count_flops(energy_fn, inputs) // rows,
        "flops_chain": chain // rows,
        "flops_step": step // rows,
    }
