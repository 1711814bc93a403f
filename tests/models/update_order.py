"""Prints, for steps of every kind, which reads of weights their updates may overtake.

`test_update_order.py` runs it as a program: TensorFlow writes down the graphs that it
runs, as its optimizer leaves them, where the environment asks for it at the start.

    TF_DUMP_GRAPH_PREFIX=FOLDER TF_CPP_VMODULE=meta_optimizer=1 python update_order.py
"""

import collections
import graphlib
import json
import os
from pathlib import Path

import keras
import tensorflow as tf
from google.protobuf import text_format
from support import FEATURES, batches, make_network, make_vera, rows

from keras_ebm import entropy
from keras_ebm.layers import SpectralNorm
from keras_ebm.models import DensityModel, EnergyModel, LangevinModel
from keras_ebm.negatives import (
    CutAndBlend,
    ImportanceCorrection,
    LangevinMoves,
    MarkovChains,
    ReplayBuffer,
)
from keras_ebm.objectives import SlicedScoreMatching

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
    "hmc": lambda: make_vera(entropy=entropy.HamiltonianChains(1, 2, 2)),
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
    waits_for = {}
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


def measure(build, folder: Path) -> dict:
    """Updates in the graphs of a model's step, and what they may overtake."""
    for path in folder.glob("*.pbtxt"):
        path.unlink()
    model = build()
    has_generator = model.generator is not None
    model.compile(*[keras.optimizers.Adam() for _ in range(3 if has_generator else 1)])
    model.fit(batches(X, Y, 8), verbose=0)
    updates, found = 0, []
    for path in folder.glob("after_MetaOptimizer*.pbtxt"):
        graph = text_format.Parse(path.read_text(), tf.compat.v1.GraphDef())
        for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
            updates += sum(node.op == "AssignSubVariableOp" for node in nodes)
            found += overtaken(nodes)
    return {"updates": updates, "overtaken": found}


if __name__ == "__main__":
    folder = Path(os.environ["TF_DUMP_GRAPH_PREFIX"])
    print(json.dumps({name: measure(build, folder) for name, build in STEPS.items()}))
