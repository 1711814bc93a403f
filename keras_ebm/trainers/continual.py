r"""Learns classes that come one after another, and measures what is still known.

Run it as:

    keras-ebm continual --dataset=digits --output=runs/continual
    keras-ebm continual --dataset=tfds:mnist --data_dir=DIR \
        --methods=density,chains,softmax --output=runs/split_mnist
    keras-ebm continual --preset=igebm_split_mnist --dry_run

The classes come in tasks, in one pass and without rehearsal: no row of a task is there
after it. Of all classes seen so far each learner chooses one, and is not told the task.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from keras_ebm import files, plots
from keras_ebm.continual import class_stream, run_stream
from keras_ebm.trainers.program import errors, folders, json_files, options, running
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import FLAGS, Checked, setting
from keras_ebm.trainers.run.dry_run import synthetic
from keras_ebm.trainers.settings.continual import (
    PRESETS,
    LearnerSettings,
    StreamShape,
    build_learner,
)
from keras_ebm.trainers.settings.data import DataSettings, RunData, load

RESULTS, PICTURE = "results.json", "picture.png"


@dataclasses.dataclass(frozen=True)
class StreamSettings(Checked):
    """Which classes come when, and where results go."""

    SUBJECTS = {"dataset": "Data", "output": "What is written"}
    CHOICES = {
        "measured_on": ("test", "validation"),
        "preset": ("", *PRESETS),
    }

    dataset: str = setting("", "Images, vectors or a table of numbers, with classes.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    target: str | None = setting(None, "Label column of a csv; default the last.")
    classes_per_task: int = setting(2, "Classes that come together.", low=1)
    order: tuple = setting(
        (), "Classes by number in the order that they come in; default ascending."
    )
    rows: int = setting(0, "Training rows to use, of all classes; 0: all.", low=0)
    measured_on: str = setting(
        "test",
        "Rows to measure on. The stream is of all rows but the test rows, or with "
        "validation of the training rows alone.",
    )
    output: str = setting("", "Folder of results.json and picture.png.")
    preset: str = setting("", "Values of other flags by a name.")
    dry_run: bool = setting(
        False, "Builds the learners, learns one batch of made-up rows, writes nothing."
    )


def learn_stream(stream: StreamSettings, settings: LearnerSettings) -> dict:
    """Takes each learner through the stream.

    Args:
        stream: `StreamSettings`.
        settings: `LearnerSettings`.

    Returns:
        Dict: `tasks`, names of the classes of each; `rows`, `test_rows`; and `methods`,
        by name the fields of `StreamResult`, with `final`, `forgetting`,
        `bytes_per_class`, `seconds_per_class` (of the processor) and `looks_once`.

    Raises:
        ValueError: if the data have no classes or hold more than numbers, or a setting
            does not fit them.
    """
    run = load(_data_settings(stream, settings.seed))
    shape = stream_shape(run)
    (x, y), test = _stream_rows(run, stream)
    order = [int(k) for k in options.integers("`order`", stream.order)] or None
    size = stream.classes_per_task
    names = run.dataset.class_names
    found: dict = {"tasks": [], "rows": len(x), "test_rows": len(test[0])}
    found["methods"] = {}
    for method in settings.methods:
        tasks = class_stream(
            x, y, order=order, classes_per_task=size, seed=settings.seed
        )
        learner = build_learner(method, settings, shape)
        result = run_stream(learner, tasks, test)
        found["tasks"] = [[names[k] for k in task] for task in result.tasks]
        found["methods"][method] = figures(result, learner.looks_once)
    return found


def figures(result, looks_once: bool) -> dict:
    """A `StreamResult` as it is written, its tasks left out."""
    kept = {name: value for name, value in result._asdict().items() if name != "tasks"}
    names = ("final", "forgetting", "bytes_per_class", "seconds_per_class")
    totals = {name: getattr(result, name) for name in names}
    return {**totals, "looks_once": looks_once, **kept}


def _data_settings(stream, seed) -> DataSettings:
    return DataSettings(
        dataset=stream.dataset,
        data_dir=stream.data_dir,
        target=stream.target,
        train_size=stream.rows if stream.measured_on == "validation" else 0,
        seed=seed,
    )


def stream_shape(run: RunData) -> StreamShape:
    """What learners are built for, of data that can be a stream.

    Raises:
        ValueError: if they cannot.
    """
    dataset = run.dataset
    if dataset.num_classes < 2:
        raise ValueError(
            "`dataset` must have classes. Received: dataset="
            f"{dataset.name}, without; name its label column by --target."
        )
    if dataset.kind == "inputs":
        raise ValueError(
            "`dataset` must be images, vectors or a table. Received: dataset="
            f"{dataset.name}, of several inputs or of codes."
        )
    columns = dataset.schema.columns if dataset.schema is not None else ()
    words = [column.name for column in columns if column.kind == "categorical"]
    if words:
        raise ValueError(
            "`dataset` must be a table of numbers. Received: dataset="
            f"{dataset.name}, with words in column {words[0]!r}; write them as columns "
            "of numbers."
        )
    image = dataset.kind == "image"
    return StreamShape(tuple(dataset.input_shape), dataset.num_classes, image)


def _stream_rows(run: RunData, stream) -> tuple:
    """`(x, y)` of the stream, and of the rows to measure on; labelled rows alone."""
    parts = ["train"]
    if stream.measured_on == "test":
        parts = ["train", "validation", "calibration"]
    pairs = [run.rows(part) for part in parts]
    x, y = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    if stream.rows and stream.measured_on == "test":
        chosen = np.random.default_rng(run.settings.seed).permutation(len(x))
        x, y = x[chosen[: stream.rows]], y[chosen[: stream.rows]]
    return _labelled(x, y, run), _labelled(*run.rows(stream.measured_on), run)


def _labelled(x, y, run) -> tuple:
    x = x[y >= 0].astype(np.float32)
    return (x / 255.0 if run.dataset.kind == "image" else x), y[y >= 0]


def dry_run(stream: StreamSettings, settings: LearnerSettings) -> dict:
    """Builds each learner and lets it learn one batch of made-up rows of two classes.

    Returns:
        Dict: by method, `bytes` that it keeps of two classes and `seconds` of the
        batch, with what is built at first.
    """
    run = synthetic(_data_settings(stream, settings.seed))
    shape = stream_shape(run)
    rng = np.random.default_rng(settings.seed)
    count = 2 * settings.batch_size
    x = rng.random((count, *shape.shape), np.float32)
    y = np.arange(count) % 2
    settings = dataclasses.replace(settings, epochs=1, ratio_epochs=1)
    found = {}
    for method in settings.methods:
        learner, begin = build_learner(method, settings, shape), time.perf_counter()
        learner.learn(x, y)
        learner.scores(x[:2])
        seconds = time.perf_counter() - begin
        found[method] = {"bytes": learner.memory(), "seconds": seconds}
    return found


def write(found: dict, output: Path) -> None:
    """Writes `results.json` and `picture.png` into a folder."""
    files.make_folder(output)
    json_files.write_json(output / RESULTS, found)
    seen = {name: [values["seen"]] for name, values in found["methods"].items()}
    names = [", ".join(task) for task in found["tasks"]]
    plots.save(plots.draw_streams(seen, names), output / PICTURE)


def _report(stream, settings) -> None:
    for method, cost in dry_run(stream, settings).items():
        print(f"{method:16s} bytes {cost['bytes']:<10d} seconds {cost['seconds']:.2f}")


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(PRESETS)
    stream = options.from_flags(StreamSettings)
    settings = options.from_flags(LearnerSettings)
    options.require("dataset")
    if FLAGS.dry_run:
        with errors.usage_errors():
            _report(stream, settings)
        return
    output = folders.require_folder("output")
    written = {name: str(output / name) for name in (RESULTS, PICTURE)}
    folders.check_apart(written, folders.files_of_spec("dataset", stream.dataset))
    with errors.usage_errors():
        plots.pyplot()
        found = learn_stream(stream, settings)
    write(found, output)
    finals = {name: value["final"] for name, value in found["methods"].items()}
    json_files.print_metrics({**finals, "output": str(output)})


def define(argv: list[str]) -> dict:
    """Defines the flags; returns the presets."""
    del argv
    for settings_class in (StreamSettings, LearnerSettings, ImportSettings):
        options.define_flags(settings_class)
    return PRESETS


if __name__ == "__main__":
    running.run_program(main, define)
