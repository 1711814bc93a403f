"""Digits: a classifier that refuses what is no digit, from data to a SavedModel.

One network learns the classes and, against a generator, how likely an image is. Known
digits set a threshold at which 5 % of such digits are refused. The export is then asked
about test digits, digits that are turned, and noise. Half a minute.

    python examples/digits.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ebm as ebm
from keras_ebm import plots


def main(output: str = "gallery", epochs: int = 30) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)

    network = ebm.networks.mlp_energy(data.input_shape, num_outputs=10)
    generator = ebm.GaussianGenerator(ebm.networks.mlp_decoder(32, data.input_shape))
    model = ebm.VERA(
        network,
        generator,
        preprocessor=keras.layers.Rescaling(1 / 127.5, offset=-1),
        objective="logistic",
    )
    model.compile("adam", "adam")
    x, y = data.x[rows.train], data.y[rows.train]
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)

    known = data.x[rows.calibration]
    detector = ebm.ood.Detector.calibrate(model, known, target_fpr=0.05)
    test = data.x[rows.test]
    folder = Path(output) / "served" / "digits"
    path = ebm.serving.export_classifier(detector, folder, test)

    # From here on TensorFlow alone would do.
    served = tf.saved_model.load(path).signatures["serving_default"]
    noise = np.random.default_rng(0).integers(0, 256, test.shape).astype("uint8")
    asked = {"test digits": test, "turned by 90°": np.rot90(test, axes=(1, 2))}
    asked["noise"] = noise
    answers = {
        name: {k: v.numpy() for k, v in served(inputs=tf.constant(images)).items()}
        for name, images in asked.items()
    }
    right = answers["test digits"]["class_id"] == data.y[rows.test]
    figures = {"accuracy": float(right.mean())}
    print(f"accuracy on {len(test)} test digits: {right.mean():.1%}")
    for name, answer in answers.items():
        figures[name] = float(np.mean(~answer["accept"]))
        print(f"refused of {name}: {figures[name]:.1%}")
    draw(Path(output) / "digits.png", asked, answers, detector)
    return figures


def draw(path: Path, asked: dict, answers: dict, detector) -> None:
    figure, axes = plots.pyplot().subplots(
        1, 3, figsize=(6.7, 2.7), layout="constrained"
    )
    accept, images = answers["test digits"]["accept"], asked["test digits"]
    plots.draw_images(axes[0], images[accept][:25], 5, "accepted", (0, 255))
    plots.draw_images(axes[1], images[~accept][:25], 5, "refused digits", (0, 255))
    energies = {name: answer["energy"] for name, answer in answers.items()}
    limit = detector.conformal.threshold(detector.target_fpr)
    plots.draw_energy_histograms(axes[2], energies, limit)
    axes[2].margins(y=0.7)
    axes[2].legend(loc="upper left", fontsize=8)
    plots.save(figure, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
