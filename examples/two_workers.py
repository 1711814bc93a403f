"""Two workers: the same training on two processes, as on two machines.

The script starts itself twice, with TF_CONFIG as a cluster would set it, and meanwhile
trains alone. Each worker computes on half of each batch; what they report is the loss
of the whole, so both say the same, and the same as one process but for rounding. Half
a minute, of which most is the start of TensorFlow.

    python examples/two_workers.py [FOLDER]
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import tensorflow as tf

import keras_ebm as ebm
from keras_ebm import plots


def train(epochs: int) -> list[float]:
    """Trains a VERA classifier under the current strategy; its loss by epoch."""
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    model = ebm.VERA(
        ebm.networks.mlp_energy((8, 8, 1), 10, hidden=(32,)),
        ebm.GaussianGenerator(ebm.networks.mlp_decoder(4, (8, 8, 1), hidden=(16,))),
        preprocessor=keras.layers.Rescaling(1 / 127.5, offset=-1),
        objective="logistic",
    )
    model.compile("adam", "adam")
    x, y = data.x[:640], data.y[:640]
    return model.fit(x, y, 64, epochs, shuffle=False, verbose=0).history["loss"]


def be_a_worker(file: str, epochs: str) -> None:
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        losses = train(int(epochs))
    Path(file).write_text(json.dumps(losses))


def start_worker(config: str, *flags: str) -> subprocess.Popen:
    command = [sys.executable, __file__, *flags]
    return subprocess.Popen(command, env={**os.environ, "TF_CONFIG": config})


def main(output: str = "gallery", epochs: int = 8, start=start_worker) -> dict:
    Path(output).mkdir(parents=True, exist_ok=True)
    with socket.socket() as one, socket.socket() as two:
        for port in (one, two):
            port.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{port.getsockname()[1]}" for port in (one, two)]
    files = [Path(output) / f"worker_{index}.json" for index in range(2)]
    workers = []
    for index, file in enumerate(files):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": hosts}, "task": task})
        workers.append(start(config, "--worker", str(file), str(epochs)))
    losses = {"one process": train(epochs)}
    for index, (worker, file) in enumerate(zip(workers, files, strict=True)):
        worker.communicate()
        assert worker.returncode == 0, f"worker {index} failed"
        losses[f"worker {index}"] = json.loads(file.read_text())
    figure, axis = plots.pyplot().subplots(figsize=(6.7, 3), layout="constrained")
    for (name, values), style in zip(losses.items(), ("-", "o", "+"), strict=True):
        print(f"loss, {name}: " + " ".join(f"{value:.4f}" for value in values))
        axis.plot(range(1, epochs + 1), values, style, ms=12, mfc="none", label=name)
    axis.set(xlabel="epoch", ylabel="loss")
    axis.legend()
    plots.save(figure, Path(output) / "two_workers.png")
    return losses


if __name__ == "__main__":
    worker = sys.argv[1:2] == ["--worker"]
    be_a_worker(*sys.argv[2:]) if worker else main(*sys.argv[1:])
