"""A run's record: its split and its data's settings, from which they are rebuilt."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_ebm import data
from keras_ebm.arguments import listed
from keras_ebm.data.schema import TableSchema
from keras_ebm.digests import file_digest
from keras_ebm.trainers.program import folders, json_files
from keras_ebm.trainers.settings.data import DataSettings, RunData, joined, read_rows

#: Types of the keys that every version has written into `run.json`.
RECORD_SHAPE = {
    "data": dict,
    "kind": str,
    "input_shape": (list, dict),
    "class_names": list,
    "schema": (dict, type(None)),
    "fingerprint": str,
}
#: And of those in its `data`.
DATA_SHAPE = {"dataset": str, "data_dir": str, "seed": int}


def write_record(run: RunData, workdir: Path, can_calibrate: bool = True) -> None:
    """Writes `split.npz` and `run.json`, from which `recall` rebuilds the data.

    Args:
        run: `RunData`.
        workdir: the run folder.
        can_calibrate: bool, whether training sees nothing of the calibration rows.
    """
    data.save_splits(workdir / folders.SPLIT_FILE, run.splits)
    schema = run.dataset.schema
    parts = ("train", "validation", "calibration", "test", "holdout")
    json_files.write_json(
        workdir / folders.RUN_FILE,
        {
            "data": dataclasses.asdict(run.settings),
            "kind": run.dataset.kind,
            # Of several inputs both are objects by name.
            "input_shape": _listed(run.dataset.input_shape),
            "dtype": data.types_of(run.dataset.x),
            "class_names": list(run.dataset.class_names),
            "schema": None if schema is None else schema.to_config(),
            "rows": {name: len(getattr(run.splits, name)) for name in parts},
            "fingerprint": run.splits.fingerprint,
            "split": data.split_digest(run.splits),
            "equal_rows": run.equal_by_chance,
            "can_calibrate": can_calibrate,
        },
    )


def _listed(shape):
    if isinstance(shape, dict):
        return {name: list(own) for name, own in shape.items()}
    return list(shape)


def check_bound(model, model_path) -> None:
    """Raises ValueError unless a model and the record beside it are of one run.

    Another run's record may lie there: of a run that was begun and not finished, or
    because somebody put a model into the folder. Its calibration rows may be rows that
    this model was trained on, and then no false-alarm rate holds. Runs of versions that
    kept no such mark are compared by the names of their classes alone.
    """
    recorded, folder = read_record(model_path), Path(model_path).parent
    names = list(recorded["class_names"])
    if model.class_names and names and list(model.class_names) != names:
        raise ValueError(
            f"`model` must be of the run in {folder}, whose classes are "
            f"{listed(names)}. Received: {model_path} with "
            f"{listed(model.class_names)}; put each model beside its own "
            f"{folders.RUN_FILE} and {folders.SPLIT_FILE}."
        )
    split = data.split_digest(data.load_splits(split_path(model_path)))
    marks = {
        str(model_path): model.trained_on,
        str(folder / folders.RUN_FILE): recorded.get("split"),
    }
    if not any(marks.values()):
        return
    for name, mark in marks.items():
        if mark != split:
            raise ValueError(
                f"`model` must have been trained on the split in "
                f"{folder / folders.SPLIT_FILE}. Received: {name}, which is of another "
                "run. Its calibration and test rows may have trained the model; put "
                "the three files of one run back together, or train again."
            )


@contextlib.contextmanager
def held_still(model_path) -> Iterator[None]:
    """Raises ValueError if a run's model, record or split change while they are read.

    They are read one after another, and a run that ends in between would give an old
    model a new split, whose calibration rows may be its training rows.
    """
    folder = Path(model_path).parent
    paths = [Path(model_path), folder / folders.RUN_FILE, folder / folders.SPLIT_FILE]
    before = _digests(paths)
    yield
    changed = [p for p, digest in _digests(paths).items() if digest != before[p]]
    if changed:
        raise ValueError(
            f"`model` must not change while it is read. Received: {changed[0]}, which "
            "another process has written meanwhile. Wait for the end of the run in "
            f"{folder}, or give each run a folder of its own; then run this again."
        )


def _digests(paths) -> dict:
    return {path: file_digest(path) if path.is_file() else None for path in paths}


def same_data(run: RunData, workdir: Path) -> bool:
    """Whether a run trains on the rows and labels that `workdir` has a record of."""
    path = _under_way(workdir) / folders.RUN_FILE
    try:
        recorded = json_files.read_shaped(path, RECORD_SHAPE)
    except ValueError as error:
        if json_files.is_cut_off(error):
            return _same_split(run, workdir)
        raise
    _check_record(recorded, path)
    settings = dataclasses.asdict(run.settings)
    settings["holdout_classes"] = list(settings["holdout_classes"])
    names = ("holdout_classes", "labels_per_class", "train_size", "seed")
    return recorded["fingerprint"] == run.splits.fingerprint and all(
        recorded["data"].get(name) == settings[name] for name in names
    )


def _under_way(workdir: Path) -> Path:
    """Where the record of an unfinished run lies, or else that of the last one."""
    backups = workdir / folders.BACKUP_FOLDER
    return backups if (backups / folders.RUN_FILE).is_file() else workdir


def _same_split(run, workdir) -> bool:
    """What `same_data` tells where a kill left an earlier version's record cut off.

    Rows are those of the split; labels are where as many were asked for.
    """
    recorded = data.load_splits(_under_way(workdir) / folders.SPLIT_FILE)
    flags = (workdir / folders.FLAGS_FILE).read_text("utf-8").splitlines()
    return f"--labels_per_class={run.settings.labels_per_class}" in flags and all(
        np.array_equal(getattr(recorded, field.name), getattr(run.splits, field.name))
        for field in dataclasses.fields(recorded)
    )


def recall(model_path, dataset: str = "", data_dir: str = "") -> RunData:
    """Rebuilds the data of the run that wrote `model_path`.

    Args:
        model_path: `DIR/model.keras` of a run folder.
        dataset: spec of the training data; it may name another place than the
            run recorded, as long as the rows are the same. Empty: as recorded.
        data_dir: overrides the recorded one when not empty.

    Raises:
        ValueError: if the folder holds no record, or the rows are others than
            the run's.
    """
    folder = Path(model_path).parent
    recorded = read_record(model_path)
    settings = dict(recorded["data"])
    for name in ("holdout_classes", "ignore_columns"):
        settings[name] = tuple(settings.get(name, ()))
    if recorded["schema"] is not None:
        schema = TableSchema.from_config(recorded["schema"])
        settings["target"] = schema.target or ""
        settings["missing_words"] = ",".join(schema.missing)
    settings |= {"dataset": dataset or settings["dataset"]}
    settings |= {"data_dir": data_dir or settings["data_dir"]}
    try:
        settings = DataSettings(**settings)
    except TypeError as error:
        raise ValueError(
            f"{folder / folders.RUN_FILE}: 'data' must hold the flags of the run. "
            f"Received: another one ({error}); restore the file, or train again."
        ) from error
    full = read_rows(settings)
    if data.fingerprint(full) != recorded["fingerprint"]:
        full = _as_once_numbered(full)
    if data.fingerprint(full) != recorded["fingerprint"]:
        raise ValueError(
            "`dataset` must be the data that the run was trained on. Received: "
            f"{settings.dataset}, whose rows differ from those recorded in "
            f"{folder}.{_same_each_time(settings.dataset)}"
        )
    splits = data.load_splits(split_path(model_path), full.num_rows)
    return joined(full, splits, settings)


def _same_each_time(spec: str) -> str:
    if data.parse_spec(spec).source != "python":
        return ""
    return (
        " The function must return the same rows in the same order each time: leave "
        "shuffling and random draws out of it, or fix their seed."
    )


def _as_once_numbered(dataset: data.Dataset) -> data.Dataset:
    """A npz file as earlier versions read it: a class for each number up to the last.

    Their models have an output for each of these classes, and their records the
    fingerprint of the labels so numbered.
    """
    names = dataset.class_names
    npz = data.parse_spec(dataset.name).source == "npz"
    if not npz or not names or "-1" in names:
        return dataset
    numbers = np.array([*map(int, names), -1])
    every = tuple(str(number) for number in range(int(names[-1]) + 1))
    return dataclasses.replace(dataset, y=numbers[dataset.y], class_names=every)


def read_record(model_path) -> dict:
    """Reads `run.json` beside a model.

    Raises:
        ValueError: if there is none.
    """
    path = Path(model_path).parent / folders.RUN_FILE
    if not path.is_file():
        raise ValueError(
            f"`model` must lie in the folder of its run, beside {folders.RUN_FILE}. "
            f"Received: {model_path}, where there is none."
        )
    recorded = json_files.read_shaped(path, RECORD_SHAPE)
    _check_record(recorded, path)
    return recorded


def _check_record(recorded, path) -> None:
    """Raises ValueError unless a record is of the shape that `record` writes."""
    remedy = "restore the file that was written, or train again"
    json_files.check_shape(path, recorded, RECORD_SHAPE, remedy)
    json_files.check_shape(path, recorded["data"], DATA_SHAPE, remedy, ": 'data'")
    if recorded["schema"] is not None:
        _schema_of(recorded["schema"], path)


def _schema_of(config: dict, path) -> TableSchema:
    """The schema of a record; raises ValueError where it is of another shape."""
    try:
        return TableSchema.from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: 'schema' must be as it was written. Received: one that cannot "
            f"be read ({type(error).__name__}: {error}); restore the file, or train "
            "again."
        ) from error


def is_training_data(model_path, dataset: str, data_dir: str = "") -> bool:
    """Whether `dataset` names the rows that the run was trained on."""
    recorded = read_record(model_path)
    if dataset == recorded["data"]["dataset"]:
        return True
    try:
        recall(model_path, dataset, data_dir)
    except ValueError:
        return False
    return True


def load_like(
    model_path,
    dataset: str,
    data_dir: str,
    target: str | None = None,
    skip_broken_images: bool = False,
) -> data.Dataset:
    """Loads other rows in the form that the run's model takes.

    Labels are numbered as the model's classes. Images of a folder get the channels of
    the model's.

    Raises:
        ValueError: if the rows do not fit the model, or are of other classes.
    """
    recorded = read_record(model_path)
    schema = recorded["schema"]
    # A schema knows the run's target, which these rows may be without.
    other = data.load(
        dataset,
        data_dir=data_dir or recorded["data"]["data_dir"] or None,
        target=target,
        schema=None if schema is None else TableSchema.from_config(schema),
        class_names=tuple(recorded["class_names"]) or None,
        seed=recorded["data"]["seed"],
        dtype=data.dtype_of(recorded["kind"], recorded.get("dtype")),
        skip_broken_images=skip_broken_images,
    )
    shape = _shape_of(recorded)
    if recorded["kind"] == "image":
        fitted = data.fit_folder(dataset, other.x, shape)
        other = dataclasses.replace(other, x=fitted)
    if (other.kind, other.input_shape) != (recorded["kind"], shape):
        remedy = "" if isinstance(shape, dict) else data.size_remedy(dataset, shape)
        raise ValueError(
            f"{dataset}: its rows must be like those of the model. Received: "
            f"{other.kind} rows of shape {other.input_shape} for a model of "
            f"{recorded['kind']} rows of shape {shape}.{remedy}"
        )
    if other.kind == "inputs":
        # Such as whole numbers where the run had fractions.
        fitted = data.in_types(other.x, recorded["dtype"])
        other = dataclasses.replace(other, x=fitted)
    return other


def _shape_of(recorded):
    shape = recorded["input_shape"]
    if isinstance(shape, dict):
        return {name: tuple(own) for name, own in shape.items()}
    return tuple(shape)


def foreign(
    spec: str, run: RunData, seed: int, skip_broken_images: bool = False
) -> Any:
    """Rows of a foreign set that fit the run's model; see `keras_ebm.data.foreign`."""
    x, y = run.rows("test")
    known = dataclasses.replace(run.dataset, x=x, y=y, num_test=0)
    return data.foreign(
        spec,
        known,
        seed=seed,
        data_dir=run.settings.data_dir or None,
        holdout=run.rows("holdout")[0],
        skip_broken_images=skip_broken_images,
    )


def split_path(model_path) -> Path:
    """Where the run that wrote `model_path` recorded its split."""
    return Path(model_path).parent / folders.SPLIT_FILE
