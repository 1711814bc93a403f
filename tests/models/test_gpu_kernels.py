"""A training step must find a kernel on GPUs for whatever it does to its variables.

TensorFlow moves other operations to the CPU, but not those on a GPU's variables. The
kernels for GPUs are listed without a GPU too.
"""

import keras
import pytest
import tensorflow as tf
from support import CLASSES, FEATURES, make_network, make_vera, rows
from tensorflow.python.framework import kernels, op_def_registry

from keras_ebm.entropy import LogVolume
from keras_ebm.models import LangevinModel
from keras_ebm.negatives import (
    ImportanceCorrection,
    LangevinMoves,
    MALAMoves,
    MarkovChains,
    ReplayBuffer,
)
from keras_ebm.optimizers import ClippedAdam

X, Y = rows(8)
DEVICES = ("GPU", "DEFAULT")

pytestmark = pytest.mark.skipif(
    not tf.test.is_built_with_cuda(), reason="this TensorFlow has no kernels for GPUs"
)


def without_kernel(graph) -> set[str]:
    """Operations of a graph, and its functions, on variables that GPUs cannot do."""
    definition = graph.as_graph_def()
    nodes = [*definition.node]
    nodes += [node for f in definition.library.function for node in f.node_def]
    return {
        f"{node.op} {types(node)}"
        for node in nodes
        if takes_variable(node.op) and not on_gpu(node)
    }


def types(node) -> list[str]:
    return [tf.as_dtype(v.type).name for v in node.attr.values() if v.type]


def takes_variable(op: str) -> bool:
    definition = op_def_registry.get(op)
    kinds = [argument.type for argument in definition.input_arg] if definition else []
    return tf.resource.as_datatype_enum in kinds


def on_gpu(node) -> bool:
    def fits(kernel):
        return kernel.device_type in DEVICES and all(
            node.attr[c.name].type in c.allowed_values.list.type
            for c in kernel.constraint
        )

    return any(map(fits, kernels.get_registered_kernels_for_op(node.op).kernel))


def step_graph(model):
    x, y = tf.constant(X), tf.constant(Y)
    step = tf.function(lambda: model.train_step((x, y)), autograph=False)
    return step.get_concrete_function().graph


def test_the_check_finds_what_gpus_cannot_do():
    variable = tf.Variable([False] * 3)

    @tf.function(autograph=False)
    def write():
        variable.scatter_nd_update([[0]], [True])
        return tf.constant(0)

    (found,) = without_kernel(write.get_concrete_function().graph)
    assert found.startswith("ResourceScatterNdUpdate") and "bool" in found


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("replacement", ["in_place", "ring", "reservoir"])
@pytest.mark.parametrize(
    "moves", [LangevinMoves(2, 0.1, 0.1), MALAMoves(2, 0.1)], ids=["langevin", "mala"]
)
def test_chains_with_a_buffer(dtype, replacement, moves):
    buffer = ReplayBuffer(
        (FEATURES,), 16, replacement=replacement, storage=dtype, store_labels=True
    )
    model = LangevinModel(make_network(CLASSES), MarkovChains(moves, buffer))
    model.compile(ClippedAdam(1e-3))
    assert not without_kernel(step_graph(model))


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_penalty": 0.1, "ramp_steps": 3},
        {"entropy": LogVolume()},
        {"entropy": LogVolume(), "correction": ImportanceCorrection(2, 0.1)},
    ],
    ids=["importance", "log_volume", "corrected"],
)
def test_vera(arguments):
    model = make_vera(**arguments)
    adam = keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.9)
    model.compile(adam, keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    assert not without_kernel(step_graph(model))
