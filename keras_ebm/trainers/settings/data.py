"""Data of a run: loaded by its settings, and split by its seed."""

import dataclasses
import functools

import numpy as np

from keras_ebm import data
from keras_ebm.arguments import listed
from keras_ebm.layers import TableEncoder
from keras_ebm.rows import take
from keras_ebm.trainers.program.options import SEED, Checked, setting


@dataclasses.dataclass(frozen=True)
class DataSettings(Checked):
    """Which rows to train on."""

    SUBJECTS = {
        "dataset": "Data",
    }

    dataset: str = setting("", f"Rows: one of {listed(data.forms(with_options=True))}.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str | None = setting(
        None,
        "Label column of a csv. The last column if the flag is not given; none if it "
        "is empty.",
    )
    ignore_columns: tuple = setting((), "Columns of a csv to leave out.")
    missing_words: str | None = setting(
        None,
        "Words of a csv that stand for missing values, with commas between them. If "
        "the flag is not given, these are NA, NaN, null, None and the like; if it is "
        "empty, only the empty cell is missing.",
    )
    holdout_classes: tuple = setting(
        (), "Classes to take out of training. They become the foreign set 'holdout'."
    )
    labels_per_class: int = setting(
        0,
        "How many labels each class keeps; the other rows become unlabelled. 0 keeps "
        "all.",
        low=0,
    )
    train_size: int = setting(0, "How many training rows to use. 0 uses all.", low=0)
    toy_rows: int = setting(
        20_000, "How many points are drawn of a toy density, before the split.", low=1
    )
    seed: int = setting(
        0, "Seed of the split, of the first weights and of the noise.", **SEED
    )
    skip_broken_images: bool = setting(
        False, "Leaves out files of images:DIR that cannot be decoded."
    )


@dataclasses.dataclass(frozen=True)
class RunData:
    """A dataset with held-out classes renumbered away, and its split."""

    dataset: data.Dataset
    splits: data.Splits
    settings: DataSettings

    @property
    def is_plane(self) -> bool:
        """Whether the rows are points in the plane."""
        return self.dataset.kind != "inputs" and self.dataset.input_shape == (2,)

    def rows(self, part: str):
        """Returns `(x, y)` of `train`, `validation`, `calibration`, `test`, `holdout`.

        The labels of `train` are masked to `labels_per_class`.
        """
        indices = getattr(self.splits, part)
        x, y = take(self.dataset.x, indices), self.dataset.y[indices]
        if part == "train" and self.settings.labels_per_class:
            y = self._few_labels
        return x, y

    @functools.cached_property
    def equal_by_chance(self) -> list[int]:
        """How many of the rows kept from training equal one of it, and their number."""
        kept = np.concatenate([self.splits.calibration, self.splits.test])
        seen = data.seen_rows(take(self.dataset.x, kept), self.splits)
        return [int(seen.sum()), len(kept)]

    @functools.cached_property
    def _few_labels(self):
        """Of the training rows; masked once, so that a notice comes once."""
        return data.mask_labels(
            self.dataset.y[self.splits.train],
            self.settings.labels_per_class,
            class_names=self.dataset.class_names,
        )


def load(settings: DataSettings, schema=None, class_names=None) -> RunData:
    """Loads and splits the data of `settings`.

    Args:
        settings: `DataSettings`.
        schema: `TableSchema` that a csv must follow, or None to infer it.
        class_names: names of all classes of the source, or None to infer.

    Raises:
        ValueError: see `keras_ebm.data.load` and `make_splits`.
    """
    if not settings.dataset:
        raise ValueError(f"`dataset` is required: one of {listed(data.forms())}.")
    full = read_rows(settings, schema, class_names)
    if settings.labels_per_class and full.num_classes < 2:
        raise ValueError(
            "`labels_per_class` needs data with classes. Received: labels_per_class="
            f"{settings.labels_per_class} for {full.name}, which has none; leave it "
            "out, or name the label column as `target`."
        )
    splits = data.make_splits(
        full,
        seed=settings.seed,
        holdout_classes=settings.holdout_classes,
        train_size=settings.train_size or None,
    )
    return joined(full, splits, settings)


def read_rows(settings: DataSettings, schema=None, class_names=None) -> data.Dataset:
    """The data of `settings`, with the labels of all classes; see `load`."""
    return data.load(
        settings.dataset,
        data_dir=settings.data_dir or None,
        target=settings.target,
        ignore_columns=settings.ignore_columns,
        schema=schema,
        missing=missing_words(settings),
        class_names=class_names,
        num_rows=settings.toy_rows,
        seed=settings.seed,
        skip_broken_images=settings.skip_broken_images,
    )


def joined(full: data.Dataset, splits: data.Splits, settings) -> RunData:
    if settings.holdout_classes:
        full = data.relabel(full, settings.holdout_classes)
    return RunData(full, splits, settings)


def missing_words(settings: DataSettings) -> list[str] | None:
    """The words of `--missing_words`; None where it is not given."""
    words = settings.missing_words
    return None if words is None else [word.strip() for word in words.split(",")]


def check_features(model, run: RunData) -> None:
    """Raises ValueError if a row's features leave float32, before anything is trained.

    A cell may be finite and yet so many standard deviations away that its feature, its
    energy and all means over its part are not. Images have no such pixels, and other
    inputs go into a network as they are.
    """
    if run.dataset.kind in ("image", "inputs"):
        return
    x = run.dataset.x
    features = np.concatenate(
        [model.preprocess(x[i : i + 4096]) for i in range(0, len(x), 4096)]
    )
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        column = int(np.argmin(np.isfinite(features[row])))
        if isinstance(model.preprocessor, TableEncoder):
            column = int(model.preprocessor.entry_columns[column])
        schema = run.dataset.schema
        named = column if schema is None else repr(schema.columns[column].name)
        raise ValueError(
            f"{run.dataset.name}: a cell must lie within 1e38 standard deviations of "
            f"the training rows. Received: {x[row, column]:g} in column {named}, row "
            f"{row} (counted from 0). Correct or empty it."
        )
