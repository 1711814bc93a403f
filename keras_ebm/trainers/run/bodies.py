"""Runs that train on the features of a frozen body."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from keras_ebm.networks import body_features
from keras_ebm.trainers.run import transforms
from keras_ebm.trainers.run.jobs import Job
from keras_ebm.trainers.settings.data import RunData
from keras_ebm.trainers.settings.negatives import bank_of
from keras_ebm.trainers.settings.starting import build_body

#: Folder of a run in which features are kept.
FOLDER = "features"


def prepare(run: RunData, settings, fit, build, strategy=None):
    """A job on the rows, or on their features where the settings give a body.

    What is saved is one model, from the rows to the answer.

    Args:
        run: `RunData`.
        settings: settings of the model.
        fit: `FitSettings`.
        build: callable `(dataset, train_x, settings, seed)` to an uncompiled model.
        strategy: `tf.distribute` strategy or None.

    Raises:
        ValueError: if the body takes no such rows, or training would move them.
    """
    body = build_body(settings, run.dataset)
    if body is not None and fit.augment != "none":
        raise ValueError(
            "`augment` must be none, as the features of a frozen body are computed "
            f"once. Received: augment={fit.augment}; leave it out."
        )
    cache = Path(fit.workdir) / FOLDER
    bank = bank_of(run, settings) if hasattr(settings, "bank") else None
    if bank is not None:
        if body is not None:
            bank = body_features(body, bank, cache=cache)
        build = functools.partial(build, bank=bank)
    if body is None:
        return transforms.prepare(run, settings, fit, build, strategy)
    if getattr(settings, "transform", "") == "auto":
        settings = dataclasses.replace(settings, transform="standardise")
    seen = of_features(run, body, cache)
    if settings.mirrored_views:
        seen = with_mirrored(seen, run, body, cache)
    job = transforms.prepare(seen, settings, fit, build, strategy)
    return _behind(job, body, run)


def of_features(run: RunData, body, cache: Path) -> RunData:
    """The same rows as features, which are computed once and kept in `cache`."""
    features = body_features(body, run.dataset.x, cache=cache)
    dataset = dataclasses.replace(
        run.dataset, x=features.astype(np.float32), kind="vector", schema=None
    )
    return dataclasses.replace(run, dataset=dataset)


def with_mirrored(seen: RunData, run: RunData, body, cache: Path) -> RunData:
    """Rows as features, with those of the mirrored training images besides.

    Args:
        seen: of `of_features`.
        run: `RunData` of images.
        body: Keras model.
        cache: folder.
    """
    rows = run.splits.train
    # Of all that may train, so that other seeds find theirs among them.
    trained = run.dataset.x[: len(run.dataset.x) - run.dataset.num_test]
    mirrored = np.ascontiguousarray(trained[:, :, ::-1])
    views = body_features(body, mirrored, cache=cache)[rows]
    dataset = dataclasses.replace(
        seen.dataset,
        x=np.concatenate([seen.dataset.x, views.astype(np.float32)]),
        y=np.concatenate([seen.dataset.y, seen.dataset.y[rows]]),
    )
    more = len(seen.dataset.x) + np.arange(len(rows))
    splits = dataclasses.replace(seen.splits, train=np.concatenate([rows, more]))
    return dataclasses.replace(seen, dataset=dataset, splits=splits)


def _behind(job: Job, body, run: RunData) -> Job:
    return dataclasses.replace(
        job, whole=lambda model: model.behind(body), recorded=run
    )
