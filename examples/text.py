"""Text: a classifier of strings that refuses what is not about its subject.

Made-up reviews of films, good or bad, train a small network that takes strings; its
vocabulary goes along into the SavedModel. After calibration it is asked about new
reviews, about restaurants in the same words but for their nouns, and about films in
German. A quarter of a minute.

    python examples/text.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ebm as ebm
from keras_ebm import plots

GOOD = "warm bright clever moving funny brave tender rich".split()
BAD = "dull cold slow empty loud tired clumsy flat".split()
FILMS = "film story cast script music ending hero camera".split()
RESTAURANTS = "soup waiter bread wine table dessert bill menu".split()
ENGLISH, GERMAN = "the {} was {} and the {} felt {}", "{} war {} und {} schien {}"
GERMAN_WORDS = [["bunt", "klug"], ["lahm", "laut"], ["der Held", "das Bild", "er"]]


def reviews(count: int, seed: int, good=GOOD, bad=BAD, nouns=FILMS, frame=ENGLISH):
    """Sentences, and 1 for those that praise."""
    rng = np.random.default_rng(seed)
    y, texts = rng.integers(0, 2, count), []
    for label in y:
        words = rng.choice(good if label else bad, 2)
        texts.append(frame.format(*np.ravel([rng.choice(nouns, 2), words], "F")))
    return np.array(texts), y


def main(output: str = "gallery", epochs: int = 10, count: int = 2000) -> dict:
    keras.utils.set_random_seed(0)
    (x, y), (known, _), (test, labels) = (reviews(count, seed) for seed in range(3))
    vectorise = keras.layers.TextVectorization(100, output_sequence_length=10)
    vectorise.adapt(x)
    layers = [vectorise, keras.layers.Embedding(100, 16), keras.layers.Flatten()]
    layers += [keras.layers.Dense(32, "relu"), keras.layers.Dense(2, "softmax")]
    trained = keras.Sequential([keras.Input((1,), dtype="string"), *layers])
    trained.compile("adam", "sparse_categorical_crossentropy")
    trained.fit(tf.constant(x), y, epochs=epochs, verbose=0)

    network = ebm.networks.from_classifier(trained)
    model = ebm.EnergyModel(network, class_names=["bad", "good"])
    detector = ebm.ood.Detector.calibrate(
        model, known, target_fpr=0.05, score="knn", train=(x, y)
    )
    path = ebm.serving.export_classifier(detector, Path(output) / "served/text", test)
    served = tf.saved_model.load(path).signatures["serving_default"]
    asked = {"films": test, "restaurants": reviews(200, 3, nouns=RESTAURANTS)[0]}
    asked["films, in German"] = reviews(200, 4, *GERMAN_WORDS, GERMAN)[0]
    answers = {k: served(inputs=tf.constant(v[:, None])) for k, v in asked.items()}
    right = np.mean(answers["films"]["class_id"] == labels)
    figures = {"accuracy": float(right)}
    print(f"accuracy: {right:.1%}")
    figure, axis = plots.pyplot().subplots(figsize=(6.7, 3), layout="constrained")
    bins = np.geomspace(1e-3, 2, 80)
    for name, answer in answers.items():
        figures[name] = float(np.mean(~answer["accept"].numpy()))
        print(f"refused, {name}: {figures[name]:.1%}, such as “{asked[name][0]}”")
        share = np.full(len(answer["accept"]), 1 / len(answer["accept"]))
        axis.hist(answer["ood_score"], bins, weights=share, alpha=0.6, label=name)
    limit = detector.conformal.threshold(detector.target_fpr)
    axis.axvline(limit, color="black", ls="--", label="refused above")
    axis.set(xlabel="distance to known reviews", ylabel="share of texts", xscale="log")
    axis.legend()
    plots.save(figure, Path(output) / "text.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
