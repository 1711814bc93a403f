"""The four jobs that `benchmarks.faults` disturbs, and how their files are checked."""

import csv
import dataclasses
import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf

from keras_ebm import data
from keras_ebm.export import predict
from keras_ebm.files import UNFINISHED
from keras_ebm.serving.export import version_number
from keras_ebm.trainers.program import folders, json_files, keras_files
from keras_ebm.trainers.run import backup
from keras_ebm.trainers.run.jobs import HISTORY_FILE

ROWS = 400
FORMER = "former answers\n"
FIT = ("--verbose=2", "--auto_resume")


class Fault(Exception):
    """Something is half written, lost or left behind."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the jobs read, on a disk that nothing happens to."""

    table: str
    model: Path
    served: Path


class Job:
    """A program that writes into a folder, and what has to be there whenever.

    Args:
        run: callable `(program, *flags)` to exit code, stdout and stderr.
        inputs: `Inputs`.
        folder: of a run that nothing disturbs; its files are the known answer.
    """

    name: str
    program: str
    #: Seconds that the program takes to write one file, or a folder.
    writing = 0.0005

    def __init__(self, run: Callable, inputs: Inputs, folder: Path):
        self.inputs, self.reference = inputs, folder
        self.begin(folder)
        started = time.monotonic()
        code, self.printed, err = run(self.program, *self.flags(folder))
        self.seconds = time.monotonic() - started
        check(code == 0, f"{self.name} fails where nothing disturbs it: {err}")

    def flags(self, folder: Path) -> tuple[str, ...]:
        """Of the program, so that it writes into a folder."""
        raise NotImplementedError

    def begin(self, folder: Path) -> None:
        """Makes the folder, with what is there before the program starts."""
        folder.mkdir()

    def output(self, folder: Path) -> Path:
        """What the program is told to write."""
        raise NotImplementedError

    def writes_in(self, folder: Path) -> Path:
        """Where files that are not finished appear."""
        return folder

    def check_now(self, folder: Path) -> None:
        """Raises an error if what is visible is half written or not what it was."""
        raise NotImplementedError

    def check_result(self, folder: Path) -> None:
        """Raises an error unless the program came to its end, and to the same one."""
        raise NotImplementedError

    def check_done(self, folder: Path) -> None:
        """Raises an error unless all is as where nothing disturbed the program."""
        self.check_result(folder)
        left = unfinished(folder)
        check(not left, f"left behind: {', '.join(path.name for path in left)}")


class Training(Job):
    """Maximum likelihood on points in the plane, with a backup at each validation."""

    name, program = "training", "trainers.likelihood"
    settings = (
        *("--dataset=toy:moons", "--train_size=256", "--method=maximum_likelihood"),
        *("--steps=60", "--validate_every=3", "--nopicture", "--hidden=16"),
        "--num_couplings=2",
    )

    def flags(self, folder):
        return (*self.settings, *FIT, f"--workdir={self.output(folder)}")

    def output(self, folder):
        return folder / "run"

    def writes_in(self, folder):
        return folder / "run" / folders.BACKUP_FOLDER

    def check_now(self, folder):
        check_files(folder / "run")

    def check_result(self, folder):
        self.check_now(folder)
        run, reference = folder / "run", self.reference / "run"
        check(backup.is_finished(run), "the run is not finished")
        check_same_weights(run, reference)

    def check_done(self, folder):
        super().check_done(folder)
        folders = folder / "run", self.reference / "run"
        names = [{path.name for path in each.iterdir()} for each in folders]
        check(names[0] == names[1], f"other files: {sorted(names[0] ^ names[1])}")
        histories = [(each / HISTORY_FILE).read_text() for each in folders]
        check(histories[0] == histories[1], "another history")


class Backup(Training):
    """VERA on a table, backed up after every step."""

    name, program = "backup", "trainers.vera"
    settings = (
        *("--target=bought", "--epochs=4", "--validate_every=1", "--hidden=32"),
        "--notensorboard",
        *("--generator_hidden=16", "--latent_dim=4", "--importance_samples=4"),
    )

    def flags(self, folder):
        return (f"--dataset={self.inputs.table}", *super().flags(folder))


class Export(Job):
    """A classifier's second version, beside its first."""

    name, program = "export", "export.classifier"
    writing = 1.0

    def flags(self, folder):
        return (
            *(f"--model={self.inputs.model}", f"--calibration={self.inputs.table}"),
            *("--target_fpr=0.1", f"--output={self.output(folder)}"),
        )

    def output(self, folder):
        return folder / "served"

    def begin(self, folder):
        super().begin(folder)
        shutil.copytree(self.inputs.served, folder / "served")

    def check_now(self, folder):
        paths = sorted((folder / "served").iterdir())
        check(folder / "served" / "1" in paths, "the first version is lost")
        for path in paths:
            check_version(path, self.inputs)

    def check_result(self, folder):
        self.check_now(folder)
        check((folder / "served" / "2").is_dir(), "there is no second version")


class Predict(Job):
    """The answers to a table's rows, in the place of former ones."""

    name, program = "predict", "export.predict"

    def flags(self, folder):
        return (
            *(f"--model={self.inputs.served}", f"--dataset={self.inputs.table}"),
            f"--output={self.output(folder)}",
        )

    def output(self, folder):
        return folder / "answers.csv"

    def begin(self, folder):
        super().begin(folder)
        (folder / "answers.csv").write_text(FORMER)

    def check_now(self, folder):
        known = FORMER, (self.reference / "answers.csv").read_text()
        text = (folder / "answers.csv").read_text()
        check(text in known, f"{len(text)} characters of answers that are none")

    def check_result(self, folder):
        self.check_now(folder)
        text = (folder / "answers.csv").read_text()
        check(text != FORMER, "the answers are the former ones")


JOBS = (Training, Backup, Export, Predict)


def make_inputs(run: Callable, folder: Path) -> Inputs:
    """Writes a table, and has a model trained on it and exported."""
    table, model = f"csv:{folder / 'rows.csv'}", folder / "run" / folders.MODEL_FILE
    write_table(folder / "rows.csv")
    inputs = Inputs(table, model, folder / "served")
    train = (*Backup.settings, f"--dataset={table}", f"--workdir={model.parent}")
    export = (f"--model={model}", f"--calibration={table}", "--target_fpr=0.1")
    for program, *flags in (
        ("trainers.vera", *train, "--verbose=0"),
        ("export.classifier", *export, f"--output={inputs.served}"),
    ):
        code, _, err = run(program, *flags)
        check(code == 0, f"{program} fails where nothing disturbs it: {err}")
    return inputs


def write_table(path: Path) -> None:
    """Writes rows `age, income, city, bought` as csv, which are always the same."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, ROWS)
    columns = {
        "age": rng.normal(40 + 10 * label, 5).round(2),
        "income": rng.normal(3 - label, 1).round(3),
        "city": np.where(rng.random(ROWS) < 0.3, "Graz", "Linz"),
        "bought": np.where(label, "yes", "no"),
    }
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def check(holds: bool, text: str) -> None:
    """Raises `Fault` with a text unless something holds."""
    if not holds:
        raise Fault(text)


def unfinished(folder: Path) -> list[Path]:
    """What processes have begun to write below a folder and not finished."""
    return sorted(folder.rglob(f"{UNFINISHED}*"))


def check_files(folder: Path) -> None:
    """Raises an error if a file below a run's folder that is visible is not whole."""
    readers = {
        "*.json": json_files.read_json,
        "*.npz": data.load_splits,
        "*.keras": keras_files.load_model,
        "*.weights.h5": read_weights,
    }
    for pattern, read in readers.items():
        for path in sorted(folder.rglob(pattern)):
            try:
                read(path)
            except Exception as error:
                raise Fault(f"{path.name} cannot be read: {error}") from error


def read_weights(path: Path) -> None:
    """Reads every array of an HDF5 file."""
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: isinstance(item, h5py.Dataset) and item[()])


def check_same_weights(run: Path, reference: Path) -> None:
    """Raises `Fault` unless the models of two runs have the same weights to the bit."""
    models = [
        keras_files.load_model(each / folders.MODEL_FILE) for each in (run, reference)
    ]
    pairs = zip(*(model.get_weights() for model in models), strict=True)
    check(all(one.tobytes() == other.tobytes() for one, other in pairs), "weights")


def check_version(path: Path, inputs: Inputs) -> None:
    """Raises an error unless an export loads, and answers as the one of the inputs."""
    check(version_number(path) is not None, f"{path.name} is no version")
    try:
        found = answers(path, inputs.table)
    except Exception as error:
        raise Fault(f"version {path.name} does not answer: {error}") from error
    for name, expected in known_answers(inputs).items():
        check(np.array_equal(found[name], expected), f"other answers: {name}")


@functools.cache
def known_answers(inputs: Inputs) -> dict[str, np.ndarray]:
    """What every version of the export answers to the table's rows."""
    return answers(inputs.served / "1", inputs.table)


def answers(version: Path, table: str) -> dict[str, np.ndarray]:
    """What an export answers to the rows of a table."""
    card = predict.read_card(version)
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    _, specs = signature.structured_input_signature
    settings = predict.PredictSettings(dataset=table)
    request, _ = predict.read_request(settings, card, specs)
    return predict.answer(signature, request)
