"""An image and columns of a table: a network of several inputs, adopted and exported.

A functional classifier sees a digit's picture, how much ink it has, and the pen that it
was written with, a word. Detector and export take the same dict of inputs. Refused are
pictures of noise, and rows whose pen does not go with their picture, although each of
the two alone is as in training. A quarter of a minute.

    python examples/image_and_table.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_ebm as ebm
from keras_ebm import plots

PENS = np.array(["ball", "brush", "quill"])


def build_network(ink: np.ndarray) -> keras.Model:
    photo = keras.Input((8, 8, 1), dtype="uint8", name="photo")
    column = keras.Input((1,), name="ink")
    pen = keras.Input((1,), dtype="string", name="pen")
    scale = keras.layers.Normalization(mean=ink.mean(), variance=ink.var())
    words = keras.layers.StringLookup(vocabulary=list(PENS), output_mode="one_hot")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(photo))
    x = keras.layers.Concatenate()([flat, scale(column), words(pen)])
    x = keras.layers.Dense(64, activation="relu")(x)
    outputs = keras.layers.Dense(6, activation="softmax")(x)
    return keras.Model({"photo": photo, "ink": column, "pen": pen}, outputs)


def main(output: str = "gallery", epochs: int = 30) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    pixels, y = load_digits(n_class=6, return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    photo, y = (pixels[order] * 255 / 16).astype("uint8").reshape(-1, 8, 8, 1), y[order]
    # Zeros and ones are written with a ball pen, twos and threes with a brush, ...
    rows = {"photo": photo, "ink": photo.mean(axis=(1, 2, 3)), "pen": PENS[y // 2]}
    train, known, test = (
        {name: values[part] for name, values in rows.items()}
        for part in (slice(600), slice(600, 800), slice(800, None))
    )
    trained = build_network(train["ink"])
    trained.compile("adam", "sparse_categorical_crossentropy")
    batches = tf.data.Dataset.from_tensor_slices((train, y[:600])).batch(32)
    trained.fit(batches, epochs=epochs, shuffle=False, verbose=0)

    model = ebm.EnergyModel(ebm.networks.from_classifier(trained))
    detector = ebm.ood.Detector.calibrate(
        model, known, target_fpr=0.05, score="knn", train=(train, y[:600])
    )
    ebm.serving.export_classifier(detector, Path(output) / "served" / "both", test)

    noise = np.random.default_rng(1).integers(0, 256, test["photo"].shape)
    asked = {"test rows": test, "wrong pen": test | {"pen": PENS[y[800:] // 2 - 1]}}
    asked["noise"] = test | {"photo": noise.astype("uint8")}
    answers = {name: detector.predict(inputs) for name, inputs in asked.items()}
    figures = {name: float(np.mean(~a["accept"])) for name, a in answers.items()}
    print("refused:", ", ".join(f"{k} {share:.1%}" for k, share in figures.items()))
    figures["accuracy"] = float(np.mean(answers["test rows"]["class_id"] == y[800:]))
    print(f"accuracy: {figures['accuracy']:.1%}")
    figure, axes = plots.pyplot().subplots(3, 6, figsize=(6.7, 4), layout="constrained")
    for row, (name, inputs) in zip(axes, asked.items(), strict=True):
        for i, axis in enumerate(row):
            word = "accepted" if answers[name]["accept"][i] else "refused"
            title = f"{inputs['pen'][i]}:\n{word}"
            plots.draw_images(axis, inputs["photo"][i : i + 1], 1, title, (0, 255))
        row[0].text(-3, 5, name, rotation=90, va="center")
    plots.save(figure, Path(output) / "image_and_table.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
