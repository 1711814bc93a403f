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
take for formulas begin with an apostrophe. Run it as:

    keras-ebm predict --model=served/table --dataset=csv:new.csv \
        --output=answers.csv

Rows are read, answered and kept a chunk at a time: a run that was killed goes on with
`--resume`, and Apache Beam answers chunks in its workers with `--runner` (see
`docs/serving.md`).
"""

import dataclasses
import hashlib
import importlib
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_ebm.arguments import listed, why_not_imported
from keras_ebm.digests import check_files, file_digest, file_digests
from keras_ebm.export.answering import BATCH as BATCH
from keras_ebm.export.answering import answer as answer
from keras_ebm.export.answering import answer_rows, columns_of, lines_of
from keras_ebm.export.answering import spreadsheet_text as spreadsheet_text
from keras_ebm.export.loading import check_card, load_examples, load_signature
from keras_ebm.export.part import PART, Done, PartFile
from keras_ebm.export.progress import Progress
from keras_ebm.export.rows import Rows, absolute, file_of, forms, open_rows
from keras_ebm.ood import ConformalDetector, benjamini_hochberg
from keras_ebm.serving.export import CARD, version_number
from keras_ebm.trainers.program import errors, folders, json_files, options, running
from keras_ebm.trainers.program.options import Checked, setting
from keras_ebm.trainers.settings import clashes

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


@dataclasses.dataclass(frozen=True)
class AskedSettings(Checked):
    """Which export is asked, and how its rows are read."""

    model: str = setting(
        "",
        "Export: DIR/NAME, of which the latest version, or one. What it holds is run: "
        "only from people you trust.",
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    optional_columns: tuple = setting(
        (), "Columns of the model that a table may lack; they are missing in all rows."
    )
    skip_broken_images: bool = setting(
        False, "Whether files of images:DIR that cannot be decoded are left out."
    )


@dataclasses.dataclass(frozen=True)
class PredictSettings(AskedSettings):
    """What answers which rows."""

    dataset: str = setting(
        "",
        f"Spec of the rows: {listed(forms())}.",
    )
    target_fpr: float = setting(
        0.0,
        "Share of known inputs that may be refused; 0: that of the export.",
        low=0,
        below=1,
    )
    batch_rate: float = setting(
        0.0,
        "Expected share of false refusals among those of a column refused_in_batch, "
        "by Benjamini and Hochberg over all rows; 0: no such column.",
        low=0,
        below=1,
    )
    output: str = setting("", "CSV file to write.")
    chunk_rows: int = setting(
        0,
        "Rows that are read, answered and kept together, a multiple of 4096 of a "
        "table's and of 256 of others; 0: 32768 of a table's, 512 images. Answers do "
        "not depend on it.",
        low=0,
    )
    resume: bool = setting(
        False,
        "Whether to go on after the last chunk that a killed run kept beside --output.",
    )
    runner: str = setting(
        "",
        "Runner of Apache Beam that answers in its workers, such as DirectRunner, "
        "FlinkRunner or DataflowRunner, and writes OUTPUT-00000-of-00004.csv and so "
        "on; empty: this process.",
    )
    pipeline_options: str = setting(
        "", "Options of Beam, as in a shell: --direct_num_workers=2 --job_name=answers."
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
        "`model` must be what keras-ebm export-classifier or keras-ebm "
        f"export-ood-scorer wrote. Received: {folder}, {state}; export the model with "
        "one of these."
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
    rows = open_rows(settings, card, specs)
    part = rows.read(0, rows.num_rows)
    rows.finish(part.broken, len(next(iter(part.request.values()))))
    return part.request, part.files


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


class BatchColumn:
    """The column of `--batch_rate`, of all rows of a file of answers.

    Which are refused depends on how often each p-value occurs, and not on more of the
    rows: these need not be kept in memory.

    Args:
        rate: expected share of false refusals among those of the column.

    Attributes:
        name: str, of the column.
        total: int, how many rows are refused.
    """

    name = BATCH_COLUMN

    def __init__(self, rate: float):
        self.rate, self.total = rate, 0
        self._cells: dict[str, str] = {}

    def study(self, rows: Iterable[dict]) -> None:
        """Goes through the answers once, before `cell` is asked of each."""
        counts = Counter(row["p_value"] for row in rows)
        answered = {text: n for text, n in counts.items() if text != "nan"}
        p_values = np.array(list(answered), np.float32)
        refused = benjamini_hochberg(
            p_values, self.rate, np.array(list(answered.values()), np.int64)
        )
        cells = np.where(refused, "true", "false").tolist()
        self._cells = dict(zip(answered, cells, strict=True))
        # A row without an answer is refused as such and is none of the batch.
        self._cells["nan"] = "true"
        self.total = sum(n for p, n in counts.items() if self._cells[p] == "true")

    def cell(self, row: dict) -> str:
        """Whether a row is refused."""
        return self._cells[row["p_value"]]


def begun_as(settings: PredictSettings, version: Path, card: dict, rows: Rows) -> dict:
    """All that answers depend on, by what an error calls it."""
    digests = card.get("files") or file_digests(version)
    export = f"{file_digest(version / CARD)}{sorted(digests.items())}"
    return {
        "source": {"dataset": settings.dataset, "sha256": rows.digest()},
        "export": hashlib.sha256(export.encode()).hexdigest(),
        "--target_fpr": settings.target_fpr,
        "--optional_columns": sorted(settings.optional_columns),
        "--skip_broken_images": settings.skip_broken_images,
        "--chunk_rows": rows.chunk,
        "TensorFlow": tf.__version__,
    }


def answer_all(signature, rows: Rows, rate: float, part: PartFile) -> None:
    """Answers what of the rows is left, and keeps the answers chunk by chunk.

    The next chunk is read, and the last one written, while one is answered.
    """
    starts = range(part.done.position, rows.num_rows, rows.chunk)

    def read(start):
        return rows.read(start, min(start + rows.chunk, rows.num_rows))

    with (
        Progress(rows.num_rows, part.done.position) as progress,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        coming = reader.submit(read, starts[0]) if starts else None
        writing = writer.submit(lambda: None)
        for start in starts:
            chunk, following = coming.result(), start + rows.chunk
            if following in starts:
                coming = reader.submit(read, following)
            answers = {}
            if len(next(iter(chunk.request.values()))):
                answers = answer_rows(signature, rows, chunk.request, rate)
            writing.result()
            progress.show(part.done.position)
            end = min(following, rows.num_rows)
            writing = writer.submit(keep, part, answers, chunk, end)
        writing.result()
    rows.finish(part.done.broken, part.done.rows)


def keep(part: PartFile, answers: dict, chunk, position: int) -> None:
    """Adds the answers to a chunk to those that are kept."""
    before = part.done
    done = Done(
        position,
        before.rows + len(answers.get("accept", ())),
        before.refused + int(np.sum(~answers["accept"])) if answers else before.refused,
        before.broken + chunk.broken,
    )
    if not answers:
        part.add(lambda header: "", done)
        return
    columns = columns_of(answers, chunk.files)
    part.add(lambda header: lines_of(columns, header), done)


def answer_here(signature, rows: Rows, settings: PredictSettings, begun: dict) -> tuple:
    """Answers all rows in this process, and writes the output.

    Args:
        signature: of the export.
        rows: what it is asked about.
        settings: `PredictSettings`.
        begun: see `begun_as`.

    Returns:
        `(done, refused)`: `Done`, and how many are refused in the batch.
    """
    column = BatchColumn(settings.batch_rate) if settings.batch_rate else None
    part = PartFile(settings.output, begun, settings.resume, column)
    try:
        answer_all(signature, rows, settings.target_fpr, part)
        part.finish()
    except ValueError:
        # The source must change, and what was answered is of the one before.
        part.leave(discard=True)
        raise
    except BaseException as error:
        part.leave(discard=False)
        if part.done.position:
            error.add_note(f"{part.done.rows} answers are kept; --resume goes on")
        raise
    return part.done, column.total if column else 0


def check_flags() -> Path:
    """Raises app.UsageError at flags that contradict each other; gives the output."""
    for name in ("model", "dataset"):
        options.require(name)
    clashes.check(clashes.PREDICT)
    output = folders.require_file("output")
    read = file_of(FLAGS.dataset)
    written = {"output": FLAGS.output, "output's part": f"{FLAGS.output}{PART}"}
    folders.check_apart(written, {"dataset": read} if read else {})
    if Path(os.path.realpath(FLAGS.model)) in Path(os.path.realpath(output)).parents:
        raise app.UsageError(
            "--output must lie outside of the export, whose files it might overwrite. "
            f"Received: output={output} in model={FLAGS.model}; choose another path."
        )
    if FLAGS.runner and FLAGS.batch_rate:
        raise app.UsageError(
            "--batch_rate must be asked without --runner, as it looks at all rows "
            f"together. Received: --runner={FLAGS.runner}; leave one of them out."
        )
    return output


def import_beam() -> ModuleType:
    """The module `keras_ebm.export.beam`, which needs what few have.

    Raises:
        ImportError: if Apache Beam is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module("keras_ebm.export.beam")
    except ImportError as error:
        raise ImportError(
            f"`runner` needs `apache_beam`, which "
            f"{why_not_imported('apache_beam', error)}. "
            'Run `pip install "keras_ebm[beam]"`.'
        ) from error


def main(argv):
    del argv
    output = check_flags()
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
        if settings.runner:
            # Workers may be in other folders.
            spec = absolute(settings.dataset)
            settings = dataclasses.replace(settings, dataset=spec)
        rows = open_rows(settings, card, specs)
        if rate:
            check_rate(rate, card)
        if rows.signature:
            name = rows.signature
            signature = load_examples(version, loaded, rate)
        begun = begun_as(settings, version, card, rows)
        if settings.runner:
            beam = import_beam()
            done, in_batch = beam.answer_far(settings, version, name, rows, begun), 0
        else:
            done, in_batch = answer_here(signature, rows, settings, begun)
    print(
        f"{output}: {done.rows} rows, {done.refused} refused at a "
        f"false-alarm rate of {rate or card['target_fpr']:g}"
    )
    if settings.batch_rate:
        print(
            f"{in_batch} refused in the batch, of which at "
            f"most {100 * settings.batch_rate:g} % are false in expectation"
        )


if __name__ == "__main__":
    options.define_flags(PredictSettings)
    running.run_program(main)
