r"""Answers rows with an exported model: a line of csv for each.

The columns are the model's answers: `label`, its `probability`, `energy` (nats),
`ood_score`, `p_value`, `accept`, the `reason` why a row is not accepted and, of
tables, the columns whose missing numbers were `filled` in; a scorer has no label. With
`--batch_rate` there is `refused_in_batch`, which looks at all rows together. Lines
come in the order of the rows, those of a folder of images with the `file` before. The
export alone is asked, as by a server's client, once its files are found to be those
that were exported. A SavedModel is a program: what it holds is run with the rights of
whoever asks it, so ask only exports from people you trust; whoever can change its files
can change their record too. Labels, file names and reasons that a spreadsheet would
take for formulas begin with an apostrophe. Run from the top of the checkout:

    python -m export.predict --model=served/table --dataset=csv:new.csv \
        --output=answers.csv
"""

import csv
import dataclasses
import io
import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from export.loading import check_card, load_signature
from keras_ebm import data
from keras_ebm.archives import read_arrays
from keras_ebm.arguments import listed
from keras_ebm.data.schema import EARLIER_MISSING
from keras_ebm.digests import check_files
from keras_ebm.files import make_folder, write_text
from keras_ebm.ood import ConformalDetector, benjamini_hochberg
from keras_ebm.rows import as_rows, num_rows
from keras_ebm.serving.export import CARD, version_number
from keras_ebm.serving.inputs import RATE
from keras_ebm.serving.outputs import OUTPUTS, restore
from trainers.program import errors, folders, json_files, options, running
from trainers.program.options import Checked, setting
from trainers.settings import clashes

BATCH = 256
#: What `--batch_rate` adds.
BATCH_COLUMN = "refused_in_batch"
FLAGS = flags.FLAGS
#: Types of the keys of a card; the optional ones depend on the model and the version.
CARD_SHAPE = {
    "target_fpr": (int, float),
    "per_class": bool,
    "calibration_rows": int,
}
OPTIONAL_SHAPE = {
    "columns": dict,
    "inputs": dict,
    "missing": list,
    "files": dict,
    "calibration_rows_by_class": (list, type(None)),
    "drift": list,
}
#: First characters by which a spreadsheet takes a text for a formula.
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


@dataclasses.dataclass(frozen=True)
class PredictSettings(Checked):
    """What answers which rows."""

    model: str = setting(
        "",
        "Export: DIR/NAME, of which the latest version, or one. What it holds is run: "
        "only from people you trust.",
    )
    dataset: str = setting(
        "",
        f"Spec of the rows: {listed(data.forms(with_options=True))}.",
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target_fpr: float = setting(
        0.0,
        "Share of known inputs that may be refused; 0: that of the export.",
        low=0,
        below=1,
    )
    optional_columns: tuple = setting(
        (), "Columns of the model that a csv may lack; they are missing in all rows."
    )
    batch_rate: float = setting(
        0.0,
        "Expected share of false refusals among those of a column refused_in_batch, "
        "by Benjamini and Hochberg over all rows; 0: no such column.",
        low=0,
        below=1,
    )
    output: str = setting("", "CSV file to write.")
    skip_broken_images: bool = setting(
        False, "Whether files of images:DIR that cannot be decoded are left out."
    )


def find_version(folder: Path) -> Path:
    """The export's folder itself, or its latest version.

    Raises:
        ValueError: if there is none, or it was not written by this package. No earlier
            version takes the place of one that was not.
    """
    version, state = folder, "where there is no export"
    if folder.is_dir() and not (folder / CARD).is_file():
        numbered = [p for p in folder.iterdir() if version_number(p) is not None]
        version = max(numbered, key=version_number, default=folder)
    if (version / CARD).is_file():
        return version
    if version != folder or (version / "saved_model.pb").is_file():
        state = f"where there is no export: {version} lacks {CARD}"
    raise ValueError(
        "`model` must be what export.classifier or export.ood_scorer wrote. "
        f"Received: {folder}, {state}; export the model with one of these."
    )


def read_card(version: Path) -> dict:
    """What an export says of itself.

    Raises:
        ValueError: if that is of another shape than `keras_ebm.serving` writes.
    """
    path = version / CARD
    card = json_files.read_shaped(path, CARD_SHAPE)
    optional = {name: kind for name, kind in OPTIONAL_SHAPE.items() if name in card}
    json_files.check_shape(path, card, optional, "export the model again")
    check_card(path, card)
    check_files(version, card.get("files", {}))
    return card


def read_request(settings: PredictSettings, card: dict, specs: dict) -> tuple:
    """Arrays of all rows by the names of a signature's inputs, and their files.

    Args:
        settings: `PredictSettings`.
        card: the export's, see `keras_ebm.serving`.
        specs: the signature's `TensorSpec`s by name.

    Returns:
        `(arrays, files)`: a dict, and for a folder of images the path of each row
        below it, else None.

    Raises:
        ValueError: if the rows cannot be read or are none of the model's.
    """
    spec = settings.dataset
    if "columns" in card:
        source, path = data.parse_spec(spec)
        if source != "csv" or not path:
            raise ValueError(
                "`dataset` must be csv:PATH, as the model takes the columns of a "
                f"table. Received: dataset={spec!r}."
            )
        names = card["columns"]
        types = {name: specs[served].dtype for name, served in names.items()}
        dtypes = {
            name: None if dtype == tf.string else dtype.as_numpy_dtype
            for name, dtype in types.items()
        }
        # An export of an earlier version says nothing of them.
        missing = card.get("missing", EARLIER_MISSING)
        columns = data.read_columns(
            os.path.expanduser(path), dtypes, missing, settings.optional_columns
        )
        return {names[name]: values for name, values in columns.items()}, None
    served = card.get("inputs", {"inputs": "inputs"})
    (name, *others), files = served.values(), None
    expected = specs[name]
    if others or expected.dtype == tf.string:
        return _arrays(spec, served, specs), None
    source, folder = data.parse_spec(spec)
    if source == "images" and folder:
        rows, files = data.read_named_images(folder, settings.skip_broken_images)
        x = data.fit_folder(spec, rows.x, tuple(expected.shape[1:]))
    else:
        dtype = expected.dtype.name if expected.dtype.is_floating else None
        x = data.read(spec, data_dir=settings.data_dir or None, dtype=dtype).x
    if source == "python":
        # A cell a row may lack the axis that the model has.
        x = as_rows(x, "dataset", expected)
    x = _in_type(x, expected.dtype.as_numpy_dtype)
    if not expected.is_compatible_with(tf.TensorSpec(x.shape, x.dtype)):
        raise ValueError(
            f"`dataset` must hold rows of shape {tuple(expected.shape[1:])} and type "
            f"{expected.dtype.name}. Received: {spec}, of shape {x.shape[1:]} and type "
            f"{x.dtype}.{data.size_remedy(spec, tuple(expected.shape[1:]))}"
        )
    return {name: x}, files


def _in_type(x: np.ndarray, dtype) -> np.ndarray:
    """Rows in another type, where that holds all their numbers."""
    if x.dtype == dtype:
        return x
    cast = x.astype(dtype)
    return cast if np.array_equal(cast, x) else x


def _arrays(spec: str, served: dict, specs: dict) -> dict:
    """Arrays for each input of a model, of an npz file or of a function."""
    source, path = data.parse_spec(spec)
    if source == "python" and path:
        arrays = data.read(spec).x
        if not isinstance(arrays, dict):
            arrays = {next(iter(served)): arrays}
    elif source == "npz" and path:
        arrays = _named_arrays(path, served)
    else:
        raise ValueError(
            "`dataset` must be npz:PATH with an array for each input of the model, "
            f"{listed(served)}, or python:MODULE:FUNCTION, which returns a dict of "
            f"them. Received: dataset={spec!r}."
        )
    own_specs = {own: specs[name] for own, name in served.items()}
    rows = as_rows(arrays, "dataset", own_specs)
    if not num_rows(rows):
        raise ValueError(f"{spec}: it must hold one row at least. Received: none.")
    return {
        name: _as_input(rows[own], own, specs[name]) for own, name in served.items()
    }


def _named_arrays(path: str, served: dict) -> dict:
    """Arrays of an npz file, by the names of a model's inputs."""
    path = os.path.expanduser(path)
    try:
        arrays, names = read_arrays(path, tuple(served))
    except ValueError as error:
        raise ValueError(
            f"{path}: it must be a file of np.savez, of numbers and of strings as "
            f'.astype("U") makes them. Received: {error}.'
        ) from error
    absent = [own for own in served if own not in arrays]
    if absent:
        raise ValueError(
            f"{path}: it must hold an array for each input of the model, "
            f"{listed(served)}. Received: {listed(names) or 'no array'}."
        )
    return arrays


def _as_input(part: np.ndarray, own: str, spec: tf.TensorSpec) -> np.ndarray:
    """An array in the type of its input; integers must be the same numbers in it."""
    if spec.dtype == tf.string:
        return part
    with np.errstate(invalid="ignore"):  # Of NaN, which is told of below.
        cast = part.astype(spec.dtype.as_numpy_dtype)
    if spec.dtype.is_integer and not np.array_equal(cast, part):
        place = tuple(int(axis[0]) for axis in np.nonzero(cast != part))
        raise ValueError(
            f"`dataset[{own!r}]` must hold numbers of {spec.dtype.name}. Received: "
            f"{part[place]} at {place}."
        )
    return cast


def check_rate(rate: float, card: dict) -> None:
    """Raises ValueError unless an export's calibration rows can keep a rate.

    Args:
        rate: share of known inputs that may be refused.
        card: the export's. One that compares within classes must say how many rows
            each has, which those of earlier versions do not.
    """
    if not card["per_class"]:
        ConformalDetector(np.zeros(card["calibration_rows"])).check_rate(rate)
        return
    counts = card.get("calibration_rows_by_class")
    if counts is None:
        raise ValueError(
            "`target_fpr` needs to know how many calibration rows each class has, "
            f"which this export does not say. Received: target_fpr={rate}; leave it "
            f"out for the export's own rate of {card['target_fpr']:g}, or export again."
        )
    classes = np.repeat(np.arange(len(counts)), counts)
    scores = np.zeros(len(classes))
    ConformalDetector(
        scores, calibration_classes=classes, num_classes=len(counts)
    ).check_rate(rate)


def check_batch_rate(card: dict) -> None:
    """Raises ValueError if an export's p-values are none that a batch rate is of."""
    if card.get("calibration") == "cross":
        raise ValueError(
            "`batch_rate` must be asked of an export with calibration rows of its own. "
            "Received: one that was calibrated across folds of its training rows, "
            "whose p-values keep no such rate; calibrate it on rows held out."
        )


def refused_in_batch(p_values: np.ndarray, rate: float) -> np.ndarray:
    """Which rows are refused, of the share `rate` falsely in expectation.

    A row without an answer is refused as such and is none of the batch.
    """
    answered = ~np.isnan(p_values)
    refused = ~answered
    refused[answered] = benjamini_hochberg(p_values[answered], rate)
    return refused


def answer(signature, request: dict) -> dict[str, np.ndarray]:
    """The outputs of a signature on all rows, in batches; NaN where there is none."""
    count = len(next(iter(request.values())))
    parts = [
        signature(
            **{k: tf.constant(v[start : start + BATCH]) for k, v in request.items()}
        )
        for start in range(0, count, BATCH)
    ]
    return restore({k: np.concatenate([part[k] for part in parts]) for k in parts[0]})


def spreadsheet_text(text: str | bytes) -> str:
    """A text as a cell that no spreadsheet runs: `=1+1` becomes `'=1+1`.

    A label that is a number, such as -1, stays one.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    return (
        f"'{text}" if text.startswith(FORMULA_MARKS) and not is_number(text) else text
    )


def is_number(text: str) -> bool:
    """Whether a text is a number in digits, of which spreadsheets run nothing."""
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None


def _cells(values: np.ndarray):
    """An output's values as cells of a csv."""
    if values.dtype == bool:
        return np.where(values, "true", "false")
    if values.dtype == object:
        return [spreadsheet_text(text) for text in values]
    return values


def write_answers(path, answers: dict, files=None) -> None:
    """Writes the answers as csv, the label's probability in the place of all.

    Texts that a spreadsheet would take for formulas begin with an apostrophe.

    Args:
        path: of the csv.
        answers: dict of arrays `(rows, ...)`.
        files: what the rows were read from, one each, or None.
    """
    # Exports of earlier versions give some of them only.
    columns = {
        name: _cells(answers[name])
        for name, output in OUTPUTS.items()
        if name in answers and output.of != "classes" and answers[name].ndim == 1
    }
    if BATCH_COLUMN in answers:
        columns[BATCH_COLUMN] = _cells(answers[BATCH_COLUMN])
    if "label" in answers:
        labels = [spreadsheet_text(label) for label in answers["label"]]
        likeliest = answers["probabilities"].max(axis=-1)
        columns = {"label": labels, "probability": likeliest, **columns}
    if files is not None:
        names = [spreadsheet_text(os.fspath(name)) for name in files]
        columns = {"file": names, **columns}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    make_folder(Path(path).parent)
    write_text(path, text.getvalue())


def main(argv):
    del argv
    for name in ("model", "dataset"):
        options.require(name)
    clashes.check(clashes.PREDICT)
    output = folders.require_file("output")
    files_read = folders.files_of_spec("dataset", FLAGS.dataset)
    folders.check_apart({"output": FLAGS.output}, files_read)
    if Path(os.path.realpath(FLAGS.model)) in Path(os.path.realpath(output)).parents:
        raise app.UsageError(
            "--output must lie outside of the export, whose files it might overwrite. "
            f"Received: output={output} in model={FLAGS.model}; choose another path."
        )
    settings = options.from_flags(PredictSettings)
    with errors.usage_errors():
        version = find_version(Path(settings.model))
        card = read_card(version)
        rate = settings.target_fpr
        if settings.batch_rate:
            check_batch_rate(card)
        name = "at_rate" if rate else "serving_default"
        loaded, signature = load_signature(version, name, card)
        _, specs = signature.structured_input_signature
        request, files = read_request(settings, card, specs)
        if rate:
            check_rate(rate, card)
            count = len(next(iter(request.values())))
            request[RATE] = np.full(count, rate, np.float32)
        answers = answer(signature, request)
        if settings.batch_rate:
            refused = refused_in_batch(answers["p_value"], settings.batch_rate)
            answers[BATCH_COLUMN] = refused
        write_answers(output, answers, files)
    refused = int(np.sum(~answers["accept"]))
    print(
        f"{output}: {len(answers['accept'])} rows, {refused} refused at a "
        f"false-alarm rate of {rate or card['target_fpr']:g}"
    )
    if settings.batch_rate:
        print(
            f"{int(np.sum(answers[BATCH_COLUMN]))} refused in the batch, of which at "
            f"most {100 * settings.batch_rate:g} % are false in expectation"
        )


if __name__ == "__main__":
    options.define_flags(PredictSettings)
    running.run_program(main)
