"""Settings of `keras-ebm adopt`: a trained network, and rows that are new to it."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from keras_ebm import EnergyModel, data
from keras_ebm.data.labels import class_codes
from keras_ebm.networks import from_classifier
from keras_ebm.networks.adopted import OUTPUTS
from keras_ebm.networks.graphs import graph_of
from keras_ebm.rows import take
from keras_ebm.trainers.program import keras_files
from keras_ebm.trainers.program.options import Checked, setting
from keras_ebm.trainers.settings.starting import PIXELS, as_pictures

FRESH = ("auto", "all", "test")


@dataclasses.dataclass(frozen=True)
class AdoptSettings(Checked):
    """Which network is adopted, and how it is read."""

    CHOICES = {"output": OUTPUTS, "pixels": PIXELS, "fresh": FRESH}

    SUBJECTS = {"network": "Network", "data": "Data", "workdir": "Run"}

    network: str = setting("", "Trained Keras classifier, a .keras or .h5 file.")
    backbone: str = setting(
        "",
        "Instead of a network, a pretrained body on whose features a head is trained; "
        "with it, --help lists the flags of that training.",
    )
    output: str = setting(
        "auto",
        "What the network gives: logits, softmax probabilities, a sigmoid's of one "
        "unit, or binary_logits of one. auto: what its last layers or numbers say.",
    )
    pixels: str = setting(
        "as_is",
        "What the network takes of pixels: as_is 0 to 255, unit 0 to 1, symmetric -1 "
        "to 1.",
    )
    data: str = setting(
        "",
        "MODULE:FUNCTION that returns the rows, in the place of --dataset; short for "
        "--dataset=python:MODULE:FUNCTION.",
    )
    fresh: str = setting(
        "auto",
        "Which rows the network was not trained on, of which some set the threshold: "
        "all of them, or those of the official test split. auto is test where there is "
        "one.",
    )
    fit_temperature: bool = setting(
        False,
        "Fits the temperature and the lapse rate of the probabilities to the "
        "validation rows, so that these are no longer the network's own.",
    )
    workdir: str = setting("", "Folder of the run, created if absent.")


def build_adopted(dataset: data.Dataset, settings: AdoptSettings) -> EnergyModel:
    """An `EnergyModel` of a trained network, for the rows of a dataset.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        settings: `AdoptSettings`.

    Raises:
        ValueError: if the file is no classifier of such rows and classes.
    """
    given = keras_files.load_keras("network", settings.network)
    network = from_classifier(given, settings.output)
    if dataset.kind == "table":
        raise ValueError(
            "`dataset` must have rows as the network takes them. Received: a table, "
            "whose words are codes of its own here; give the network's inputs by "
            "python:MODULE:FUNCTION, or npz:PATH."
        )
    preprocessor = None
    if dataset.kind == "image":
        # Inside the model pixels are from -1 to 1, as generators and chains make them.
        preprocessor = layers.Rescaling(1.0 / 127.5, offset=-1.0)
        network = _of_pixels(network, dataset.input_shape, settings.pixels)
    check_rows(network, dataset, "network", Path(settings.network).name)
    num_classes = network.output_shape[-1]
    if num_classes != dataset.num_classes:
        raise ValueError(
            f"`network` must have the {dataset.num_classes} classes of {dataset.name}, "
            f"which occur among its labels. Received: {Path(settings.network).name} "
            f"with {num_classes}."
        )
    return EnergyModel(
        network, preprocessor=preprocessor, class_names=dataset.class_names
    )


def check_rows(network: keras.Model, dataset: data.Dataset, name: str, file) -> None:
    """Raises ValueError unless a network takes the rows of a dataset.

    Args:
        network: functional model from raw rows.
        dataset: `keras_ebm.data.Dataset`.
        name: of the setting that gives the network, for the error.
        file: that it was read from.
    """
    inputs = graph_of(network).inputs
    own = {key: tuple(x.shape[1:]) for key, x in inputs.items()}
    text = {key: str(x.dtype) == "string" for key, x in inputs.items()}
    shapes, types = dataset.input_shape, data.types_of(dataset.x)
    if not isinstance(shapes, dict):
        only = next(iter(own))
        shapes, types = {only: shapes}, {only: types}
    if set(own) == set(shapes) and all(
        _fits(shapes[key], own[key]) and text[key] == (types[key] == "object")
        for key in own
    ):
        return
    raise ValueError(
        f"`{name}` must take the rows of `dataset`. Received: {file} with inputs "
        f"{_told(own, text)} for rows of {dataset.name} of "
        f"{_told(shapes, {key: types[key] == 'object' for key in shapes})}; give the "
        "network's inputs by their names, as a dict of arrays that "
        "python:MODULE:FUNCTION returns."
    )


def _fits(shape: tuple, own: tuple) -> bool:
    """Whether rows of a shape are what an input takes, which may have open axes."""
    if len(own) == len(shape) + 1 and own[-1] == 1:
        shape = (*shape, 1)
    pairs = zip(shape, own, strict=False)
    return len(shape) == len(own) and all(b in (None, a) for a, b in pairs)


def _told(shapes: dict, text: dict) -> str:
    return ", ".join(
        f"{key} {shape}{' of strings' if text[key] else ''}"
        for key, shape in shapes.items()
    )


def _of_pixels(network: keras.Model, shape, pixels: str) -> keras.Model:
    """The network for pixels of -1 to 1, of its own size or another."""
    if len(network.inputs) != 1 or len(network.inputs[0].shape) != 4:
        raise ValueError(
            "`network` must take images, as the rows of `dataset` are. Received: "
            f"{network.name!r}, which takes {network.input_shape}."
        )
    inputs = keras.Input(shape, name="inputs")
    x = layers.Rescaling(127.5, offset=127.5)(inputs)
    x = as_pictures(x, network, pixels)
    x = ops.cast(x, network.inputs[0].dtype)
    return from_classifier(keras.Model(inputs, network(x), name=network.name), "logits")


def fresh_splits(
    dataset: data.Dataset,
    fresh: str,
    seed: int,
    holdout_classes: tuple = (),
    train_size: int | None = None,
) -> data.Splits:
    """Splits whose validation, calibration and test rows a network was not trained on.

    Of an official test split, of a permutation the first tenth are validation, the next
    three tenths calibration, and the rest the test; all other rows are training rows.
    Without one they are as `keras_ebm.data.make_splits` cuts them.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        fresh: of `FRESH`.
        seed: int, of the permutation.
        holdout_classes: see `keras_ebm.data.make_splits`.
        train_size: int, training rows at most, or None.

    Raises:
        ValueError: if `fresh` is `"test"` and there is no official test split, or
            too few rows are left in it.
    """
    if fresh == "test" and not dataset.num_test:
        raise ValueError(
            "`fresh` can be test where there is an official test split. Received: "
            f"{dataset.name}, which has none; use fresh=all for rows that the network "
            "was not trained on."
        )
    if fresh == "all" or not dataset.num_test:
        return data.make_splits(
            dataset, seed=seed, holdout_classes=holdout_classes, train_size=train_size
        )
    first = dataset.num_rows - dataset.num_test
    rows = first + np.random.default_rng(seed).permutation(dataset.num_test)
    codes = class_codes(dataset.class_names, holdout_classes)
    unknown = np.isin(dataset.y, codes)
    holdout, rows = np.sort(rows[unknown[rows]]), rows[~unknown[rows]]
    count = len(rows)
    if count < 3 or first == 0:
        raise ValueError(
            "`fresh` test needs three rows of an official test split at least, and "
            f"rows besides it. Received: {dataset.name} with {count} of {first}; use "
            "fresh=all for rows that the network was not trained on."
        )
    ends = [max(1, count // 10), max(2, 4 * count // 10)]
    validation, calibration, test = np.split(rows, ends)
    train = np.flatnonzero(~unknown[:first])[:train_size]
    seen = np.concatenate([train, validation])
    return data.Splits(
        train=train,
        validation=validation,
        calibration=calibration,
        test=test,
        holdout=holdout,
        seed=seed,
        fingerprint=data.fingerprint(dataset),
        train_hashes=data.row_hashes(take(dataset.x, seen)),
    )
