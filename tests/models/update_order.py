"""Prints, for steps of every kind, which reads of weights their updates may overtake.

Run by `test_update_order.py` as a program: TensorFlow writes down the graphs that it
runs, as its optimizer leaves them, where the environment asks for it at the start.

    python update_order.py FOLDER
"""

import collections
import graphlib
import json
import os
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "0",
    "TF_CPP_VMODULE": "meta_optimizer=1",
    "TF_DUMP_GRAPH_PREFIX": str(FOLDER),
}

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from support import FEATURES, batches, make_network, make_vera, rows  # noqa: E402

from keras_ebm import entropy  # noqa: E402
from keras_ebm.layers import SpectralNorm  # noqa: E402
from keras_ebm.models import DensityModel, EnergyModel, LangevinModel  # noqa: E402
from keras_ebm.negatives import (  # noqa: E402
    CutAndBlend,
    ImportanceCorrection,
    LangevinMoves,
    MarkovChains,
    ReplayBuffer,
)
from keras_ebm.objectives import SlicedScoreMatching  # noqa: E402

X, Y = rows(16)


def spectral_network():
    inputs = keras.Input((FEATURES,))
    h = SpectralNorm(keras.layers.Dense(8, activation="silu"))(inputs)
    h = keras.layers.Dropout(0.2, seed=0)(h)
    logits = SpectralNorm(keras.layers.Dense(1), name="logits")(h)
    return keras.Model(inputs, logits)


def chains():
    buffer = ReplayBuffer((FEATURES,), 32)
    return MarkovChains(LangevinMoves(2, 0.05, 0.1), buffer, start="uniform")


def density_vera(**kwargs):
    return make_vera(1, objective="contrastive", gradient_penalty=0.1, **kwargs)


STEPS = {
    "importance": make_vera,
    "log_volume, dense": lambda: make_vera(entropy=entropy.LogVolume("dense")),
    "log_volume, iterative": lambda: make_vera(entropy=entropy.LogVolume("iterative")),
    "hmc": lambda: make_vera(entropy=entropy.HamiltonianMonteCarlo(1, 2, 2)),
    "mutual_information, js": lambda: make_vera(entropy=entropy.MutualInformation()),
    "mutual_information, dv": lambda: make_vera(
        entropy=entropy.MutualInformation("donsker_varadhan")
    ),
    "density": density_vera,
    "density, corrected": lambda: density_vera(
        entropy=entropy.LogVolume(), correction=ImportanceCorrection()
    ),
    "batch negatives": lambda: EnergyModel(make_network(), negatives=CutAndBlend()),
    "chains": lambda: LangevinModel(make_network(1), chains()),
    "chains, spectral": lambda: LangevinModel(spectral_network(), chains()),
    "score matching": lambda: DensityModel(make_network(1), SlicedScoreMatching()),
}


def overtaken(nodes) -> list:
    """`(read, update)` of the same variable, neither of which waits for the other."""
    # Loops come round by `NextIteration`: what enters them is ordered without it.
    inputs = {
        node.name: [name.lstrip("^").split(":")[0] for name in node.input]
        if node.op != "NextIteration"
        else []
        for node in nodes
    }
    waits_for = {name: set() for name in inputs}
    for name in graphlib.TopologicalSorter(inputs).static_order():
        direct = inputs.get(name, ())
        waits_for[name] = set(direct).union(*(waits_for[i] for i in direct))
    users = collections.defaultdict(lambda: ([], []))
    for node in nodes:
        reads = node.op in ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
        writes = node.op.startswith(("Assign", "ResourceScatter", "ResourceApply"))
        if reads or writes:
            users[inputs[node.name][0]][writes].append(node.name)
    return [
        (read, update)
        for reads, updates in users.values()
        for read in reads
        for update in updates
        if read not in waits_for[update] and update not in waits_for[read]
    ]


def measure(build) -> dict:
    """Updates in the graphs of a model's step, and what they may overtake."""
    for path in FOLDER.glob("*.pbtxt"):
        path.unlink()
    model = build()
    has_generator = hasattr(model, "generator")
    model.compile(*[keras.optimizers.Adam() for _ in range(3 if has_generator else 1)])
    model.fit(batches(X, Y, 8), epochs=1, verbose=0)
    updates, found = 0, []
    for path in FOLDER.glob("after_MetaOptimizer*.pbtxt"):
        graph = text_format.Parse(path.read_text(), tf.compat.v1.GraphDef())
        for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
            updates += sum(node.op == "AssignSubVariableOp" for node in nodes)
            found += overtaken(nodes)
    return {"updates": updates, "overtaken": found}


if __name__ == "__main__":
    print(json.dumps({name: measure(build) for name, build in STEPS.items()}))
