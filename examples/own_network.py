"""Your own Keras network: it keeps its answers and learns when not to give them.

A plain `Sequential` network is trained on digits as anybody would, and adopted: none
of its weights change. Which score tells strangers best is chosen on stand-ins made of
validation rows; then it gets a threshold at which 5 % of known digits are refused, and
an export. The strangers are digits that are turned, of which the network is sure, and
which its energy alone, the default score, lets through. A quarter of a minute.

    python examples/own_network.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_ebm as ebm
from keras_ebm import plots


def main(output: str = "gallery", epochs: int = 30) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)
    train, validation, known, test = (
        (data.x[part], data.y[part])
        for part in (rows.train, rows.validation, rows.calibration, rows.test)
    )
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    trained = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    trained.compile("adam", "sparse_categorical_crossentropy")
    trained.fit(*train, epochs=epochs, verbose=0)

    model = ebm.EnergyModel(ebm.networks.from_classifier(trained))
    score = ebm.ood.choose_score(model, validation, train=train).score
    detectors = {
        name: ebm.ood.Detector.calibrate(
            model, known[0], target_fpr=0.05, score=name, train=train
        )
        for name in ("energy", score)
    }
    chosen = detectors[score]
    ebm.serving.export_classifier(chosen, Path(output) / "served" / "own", test[0])

    turned = np.rot90(test[0], axes=(1, 2))
    answers, foreign = chosen.predict(test[0]), chosen.predict(turned)
    right = answers["class_id"] == test[1]
    print(f"accuracy {right.mean():.1%}, as before; score chosen: {score}")
    print(f"refused of test digits: {np.mean(~answers['accept']):.1%}")
    sure = np.mean(foreign["probabilities"].max(axis=1) > 0.9)
    print(f"turned digits that the network is 90 % sure of: {sure:.1%}")
    refused = {
        name: float(np.mean(~detector.predict(turned)["accept"]))
        for name, detector in detectors.items()
    }
    for name, share in refused.items():
        print(f"refused of turned digits by {name}: {share:.1%}")
    draw(Path(output) / "own_network.png", turned, foreign)
    return {"accuracy": float(right.mean()), "refused": refused[score]}


def draw(path: Path, turned: np.ndarray, foreign: dict) -> None:
    figure, axes = plots.pyplot().subplots(2, 6, figsize=(6.7, 3), layout="constrained")
    for index, axis in enumerate(axes.flat):
        word = "accepted" if foreign["accept"][index] else "refused"
        sure = foreign["probabilities"][index].max()
        title = f"“{foreign['class_id'][index]}”, {sure:.1%}\n{word}"
        plots.draw_images(axis, turned[index : index + 1], 1, title, (0, 255))
    plots.save(figure, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
