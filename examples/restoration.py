"""Restoration: the lower half of a digit from its upper half.

An energy for every level of noise is trained on digits. Chains then go down the levels
with the upper half held to what is seen; their mean is the best guess by squared error,
and where they differ nothing is known. How to walk is chosen on validation rows. Beside
it stands the mean of the 30 training digits with the nearest upper halves, which is
free. A minute.

    python examples/restoration.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.neighbors import KNeighborsRegressor

import keras_ebm as ebm
from keras_ebm import plots
from keras_ebm.models import DenoisingModel


def main(
    output: str = "gallery", epochs: int = 80, num_walks: int = 3, num_chains: int = 8
) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)
    pixels = data.x / np.float32(127.5) - 1
    train, validation = pixels[rows.train], pixels[rows.validation]
    test = pixels[rows.test][:100]

    network = ebm.networks.ReconstructionEnergy(
        ebm.networks.convolutional_denoiser((8, 8, 1)),
        data_mean=float(train.mean()),
        data_stddev=float(train.std()),
    )
    model = DenoisingModel(network)
    steps = epochs * (len(train) // 64)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0))
    model.fit(train, batch_size=64, epochs=epochs, verbose=0)

    known = np.ones((8, 8, 1), bool)
    known[4:] = False
    hidden = ebm.restore.Masked(known, hidden=-1.0)
    walks = [
        ebm.restore.LevelWalk(20, high=4.0, data_stddev=float(train.std()), guidance=g)
        for g in (0.5, 0.25, 1.0)[:num_walks]
    ]
    choose, restore = ebm.restore.choose_walk, ebm.restore.restore
    walk = choose(model, validation, hidden, walks, num_chains=num_chains).walk
    observed = np.where(known, test, -1.0)
    found = restore(model, observed, hidden, walk, num_chains=num_chains)

    neighbours = KNeighborsRegressor(30)
    neighbours.fit(train[:, :4].reshape(-1, 32), train[:, 4:].reshape(-1, 32))
    lower = neighbours.predict(test[:, :4].reshape(-1, 32)).reshape(-1, 4, 8, 1)
    guess = np.concatenate([test[:, :4], lower], axis=1)
    figures = {
        "left black": observed,
        "mean of 30 neighbours": guess,
        "one chain": found.chains[0],
        f"mean of {num_chains} chains": found.mean,
    }
    panels = {"seen": observed[:12], "restored": found.mean[:12]}
    panels |= {"one chain": found.chains[0][:12], "spread": found.stddev[:12]}
    plots.save(
        plots.draw_restorations(panels | {"as it was": test[:12]}),
        Path(output) / "restoration.png",
    )
    for name, images in figures.items():
        figures[name] = float(ebm.restore.psnr(test, images, where=~known).mean())
        print(f"PSNR of the lower half, {name}: {figures[name]:.1f} dB")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
