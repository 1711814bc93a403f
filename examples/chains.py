"""Chains: a joint energy model without a generator, and the digits chains walk to.

The negatives of each step are where Langevin chains come to, which a replay buffer
keeps for later steps. The samples are where these chains go on walking. Half a minute.

    python examples/chains.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_ebm as ebm
from keras_ebm import plots
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer


def main(output: str = "gallery", epochs: int = 15) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)
    network = ebm.networks.mlp_energy(data.input_shape, num_outputs=10)
    chains = MarkovChains(
        LangevinMoves(20), ReplayBuffer(data.input_shape), start="uniform"
    )
    model = ebm.LangevinModel(
        network,
        chains,
        preprocessor=keras.layers.Rescaling(1 / 127.5, offset=-1),
        energy_weight=0.1,
    )
    model.compile(keras.optimizers.Adam(1e-3, beta_1=0.0))
    x, y = data.x[rows.train], data.y[rows.train]
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)

    test = data.x[rows.test]
    scores = model.evaluate(test, data.y[rows.test], verbose=0, return_dict=True)
    samples = model.sample(48, seed=0, num_steps=100)
    start = model.sample(48, seed=0, num_steps=1, fresh=True)
    inputs = {"test digits": model.preprocess(test), "samples": samples}
    inputs["where chains start"] = start
    figures = {"accuracy": scores["accuracy"]}
    print(f"accuracy on {len(test)} test digits: {scores['accuracy']:.1%}")
    for name, images in inputs.items():
        figures[name] = float(np.mean(model.inputs_energy(images)))
        print(f"mean energy, {name}: {figures[name]:.1f} nats")
    pictures = {"data": model.preprocess(test[:48]), "where chains start": start}
    figure, axes = plots.pyplot().subplots(1, 3, figsize=(8, 2.4), layout="constrained")
    pictures["where they walk to"] = samples
    for axis, (title, images) in zip(axes, pictures.items(), strict=True):
        plots.draw_images(axis, images, 8, title)
    plots.save(figure, Path(output) / "chains.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
