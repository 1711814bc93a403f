r"""A small digit classifier, with which modes of stacked digits are counted.

It takes grey images with pixel values from 0 to 255 and normalises them itself.
About a minute on one thread; run from the top of the checkout:

    python -m benchmarks.digit_classifier --data_dir=DIR --output=digits.keras
"""

import dataclasses

import keras
import numpy as np

from keras_ebm.data import load, resize_images
from keras_ebm.trainers.program import folders, options, running


def build_classifier(image_size: int, seed: int = 0) -> keras.Model:
    """Two convolutions and a dense layer, from pixel values to 10 logits."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 1)),
            layers.Rescaling(1.0 / 255.0),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.25),
            layers.Dense(10, name="logits"),
        ],
        name="digit_classifier",
    )


def train_classifier(
    data_dir: str,
    *,
    dataset: str = "tfds:mnist",
    image_size: int = 28,
    train_size: int = 60_000,
    epochs: int = 5,
    seed: int = 0,
) -> tuple[keras.Model, float]:
    """Trains the classifier.

    Args:
        data_dir: folder of prepared tensorflow-datasets.
        dataset: str, a data set of digits with a test split.
        image_size: int, side of the images, resized bilinearly as stacked
            digits are.
        train_size: int, training images; drawn at random by `seed`.
        epochs: int, passes over them.
        seed: int, of the images, the weights and their order.

    Returns:
        `(classifier, accuracy)`: a Keras model from `(n, size, size, 1)` pixel
        values to 10 logits, and the accuracy on all test images, in [0, 1].
    """
    digits = load(dataset, data_dir=data_dir)
    num_train = len(digits.x) - digits.num_test
    rows = np.random.default_rng(seed).permutation(num_train)[:train_size]
    x, test_x = (
        resize_images(digits.x[part], image_size).astype(np.float32)
        for part in (rows, slice(num_train, None))
    )
    classifier = build_classifier(image_size, seed)
    batch_size = min(128, len(rows))
    steps = epochs * -(-len(rows) // batch_size)
    classifier.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    classifier.fit(x, digits.y[rows], batch_size, epochs, verbose=0)
    predicted = classifier.predict(test_x, 500, verbose=0).argmax(axis=-1)
    return classifier, float(np.mean(predicted == digits.y[num_train:]))


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """Flags of the program."""

    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "`.keras` file to write.")
    image_size: int = options.setting(28, "Side of the images.")
    train_size: int = options.setting(60_000, "Training images.")
    epochs: int = options.setting(5, "Passes over them.")
    seed: int = options.setting(0, "Of the images and the weights.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(ClassifierSettings)
    path = folders.require_file("output")
    folders.make_parent(path)
    classifier, accuracy = train_classifier(
        settings.data_dir,
        image_size=settings.image_size,
        train_size=settings.train_size,
        epochs=settings.epochs,
        seed=settings.seed,
    )
    classifier.save(path)
    print(f"test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    options.define_flags(ClassifierSettings)
    running.run_program(main)
