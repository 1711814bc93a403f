"""A flow by maximum likelihood: NICE on digits, with exact likelihoods and samples.

NICE is an invertible network, so its energy is a likelihood as it stands. It is trained
on 1,257 digits whose grey levels are spread out by noise, and beside it stands one
Gaussian of full covariance fitted to the same rows. A minute.

    python examples/nice_flow.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture

import keras_ebm as ebm
from keras_ebm import plots


def to_logits(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Grey levels 0 to 16, spread out over [0, 1), as logits, which have no ends."""
    noise = np.random.default_rng(seed).random(pixels.shape)
    share = 0.05 + 0.9 * (pixels + noise) / 17
    return np.log(share / (1 - share)).astype("float32")


def to_shares(logits: np.ndarray) -> np.ndarray:
    """Undoes `to_logits` but for the noise: `(n, 8, 8, 1)` in [0, 1]."""
    shares = 1 / (1 + np.exp(-np.asarray(logits)))
    return ((shares - 0.05) / 0.9).reshape(-1, 8, 8, 1)


def main(
    output: str = "gallery", epochs: int = 60, width: int = 256
) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).permutation(load_digits().data)
    # Five draws of the noise for each training image.
    train = np.concatenate([to_logits(pixels[:1257], seed) for seed in range(5)])
    validation, test = to_logits(pixels[1257:1437], 5), to_logits(pixels[1437:], 6)

    scale = keras.layers.Normalization()
    scale.adapt(train)
    model = ebm.DensityModel(
        ebm.networks.NICE(64, hidden=(width, width), num_couplings=4),
        ebm.objectives.MaximumLikelihood(),
        preprocessor=scale,
    )
    model.compile(keras.optimizers.Adam(1e-3))
    best = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    fit = {"validation_data": (validation,), "callbacks": [best], "verbose": 0}
    model.fit(train, batch_size=128, epochs=epochs, **fit)

    # Per image, in the space of the logits: dx of the standardisation belongs to it.
    volume = 0.5 * np.log(scale.variance).sum()
    flow = np.asarray(model.network.log_prob(model.preprocess(test))) - volume
    gaussian = GaussianMixture(1, reg_covar=0.01, random_state=0).fit(train)
    figures = {"NICE": float(flow.mean()), "one Gaussian": float(gaussian.score(test))}
    for name, value in figures.items():
        print(f"log-likelihood of a test digit, {name}: {value:.1f} nats")

    samples = model.network.sample(40, seed=0) * scale.variance**0.5 + scale.mean
    drawn = gaussian.sample(40)[0]
    rows = {"test digits": test[:40], "NICE": samples, "one Gaussian": drawn}
    figure, axes = plots.pyplot().subplots(
        1, 3, figsize=(6.7, 3.8), layout="constrained"
    )
    for axis, (name, logits) in zip(axes, rows.items(), strict=True):
        plots.draw_images(axis, to_shares(logits), 5, name, (0, 1))
    plots.save(figure, Path(output) / "nice_flow.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
