r"""Restores test images from noise, masks or fewer pixels, and measures how well.

Run it as:

    keras-ebm restore --dataset=digits --corruption=gaussian:0.3 \
        --train_steps=500 --output=runs/restored
    keras-ebm restore --dataset=tfds:mnist --data_dir=DIR \
        --corruption=lower_half --output=runs/lower_half
    keras-ebm restore --model=runs/lower_half/model.keras \
        --corruption=salt:0.1 --output=runs/salt
    keras-ebm restore --preset=igebm_cifar10 --dry_run

Without --model an energy is trained first, and written beside the results. How far to
walk, and by what weight of the observation, is chosen on validation rows.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm import data, files, plots
from keras_ebm.random import StepRandom
from keras_ebm.restore import choose_walk, hidden_entries, psnr, restore
from keras_ebm.rows import take
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import FLAGS, Checked, integers, setting
from keras_ebm.trainers.run import record
from keras_ebm.trainers.run.dry_run import synthetic
from keras_ebm.trainers.settings.data import DataSettings, RunData, load
from keras_ebm.trainers.settings.restore import (
    FORMS,
    PRESETS,
    EnergySettings,
    build_energy,
    numbers,
    parse_corruption,
    walks,
)

RESULTS, PICTURE = "results.json", "picture.png"
#: Images of the picture.
SHOWN = 10


@dataclasses.dataclass(frozen=True)
class RestoreSettings(Checked):
    """What is restored from what, and where results go."""

    SUBJECTS = {"dataset": "Data", "chains": "Walks", "output": "What is written"}
    CHOICES = {
        "measured_on": ("test", "validation"),
        "walk": ("inputs", "latents"),
        "preset": ("", *PRESETS),
    }

    dataset: str = setting("", "Images; default those that --model was trained on.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    corruption: str = setting(
        "gaussian:0.3", f"What is done to images: {FORMS}; of pixels from 0 to 1."
    )
    model: str = setting(
        "", "model.keras in the folder of its run; by default an energy is trained."
    )
    rows: int = setting(0, "Training rows to use; 0: all.", low=0)
    test_rows: int = setting(500, "Rows to restore at most.", low=1)
    validation_rows: int = setting(100, "Rows that the walk is chosen on.", low=1)
    measured_on: str = setting("test", "Rows to restore.")
    chains: int = setting(16, "Chains of each row, whose mean is taken.", low=1)
    walk: str = setting(
        "inputs", "Where chains walk: inputs, or latents of the model's generator."
    )
    walk_steps: tuple = setting(("10", "20"), "Numbers of steps to choose from.")
    weights: tuple = setting(
        ("0.7", "1", "1.4"), "Weights of what is observed to choose from."
    )
    output: str = setting("", "Folder of results.json and picture.png.")
    preset: str = setting("", "Values of other flags by a name.")
    dry_run: bool = setting(
        False, "Builds the energy, takes one step on made-up rows, writes nothing."
    )


def restore_rows(settings: RestoreSettings, energy: EnergySettings):
    """Trains an energy or takes a model, and restores rows.

    Args:
        settings: `RestoreSettings`.
        energy: `EnergySettings`, of the energy that is trained.

    Returns:
        `(figures, panels, model, run)`: a dict of `psnr` (mean over rows, in decibels)
        of what is observed (`psnr_observed`), of the mean of the chains (`psnr_mean`,
        `psnr_stderr`) and of one (`psnr_chain`), the chosen walk, seconds; pictures by
        name for `keras_ebm.plots.draw_restorations`; the model and its `RunData`.

    Raises:
        ValueError: if the settings do not fit the data, the model or each other.
    """
    steps, weights = _choices(settings)
    run, model = _model_and_data(settings, energy)
    corruption = parse_corruption(settings.corruption, run.dataset.input_shape)
    seconds = {}
    if model is None:
        begin = time.process_time()
        model = train_energy(run, energy)
        seconds["seconds_training"] = time.process_time() - begin
    prepared = _prepared(run, model, "validation", settings.validation_rows)
    tried = walks(model, corruption, energy, steps, weights, settings.walk == "latents")
    chosen = choose_walk(
        model, prepared, corruption, tried, num_chains=settings.chains, seed=energy.seed
    )
    x = _prepared(run, model, settings.measured_on, settings.test_rows)
    observed = corruption.corrupt(
        tf.constant(x), StepRandom(energy.seed, 2**41)
    ).numpy()
    begin = time.process_time()
    found = restore(
        model,
        observed,
        corruption,
        chosen.walk,
        num_chains=settings.chains,
        seed=energy.seed,
    )
    seconds["seconds_a_row"] = (time.process_time() - begin) / len(x)
    figures = {**_figures(x, observed, corruption, found), **seconds}
    figures["walk"] = f"{chosen.walk}"
    figures["walks"] = {
        str(walk): float(score)
        for walk, score in zip(tried, chosen.scores, strict=True)
    }
    start = np.asarray(corruption.start(tf.constant(observed[:SHOWN])))
    panels = {
        "observed": start,
        "restored": found.mean[:SHOWN],
        "spread": found.stddev[:SHOWN],
        "one chain": found.chains[0][:SHOWN],
        "original": x[:SHOWN],
    }
    return figures, panels, model, run


def _choices(settings) -> tuple:
    steps = integers("`walk_steps`", settings.walk_steps)
    weights = numbers("`weights`", settings.weights)
    for name, values in (("walk_steps", steps), ("weights", weights)):
        if not values or any(value <= 0 for value in values):
            raise ValueError(
                f"`{name}` must be numbers above 0. Received: {name}="
                f"{','.join(map(str, getattr(settings, name)))}."
            )
    return steps, weights


def _model_and_data(settings, energy) -> tuple:
    """`(run, model)`; no model where one has to be trained."""
    if not settings.model:
        run = load(_data_settings(settings, energy.seed))
        check_images(run)
        return run, None
    model = keras_files.load_model(settings.model)
    run = record.recall(settings.model, settings.dataset, settings.data_dir)
    record.check_bound(model, settings.model)
    check_images(run)
    return run, model


def _data_settings(settings, seed) -> DataSettings:
    return DataSettings(
        dataset=settings.dataset,
        data_dir=settings.data_dir,
        train_size=settings.rows,
        seed=seed,
    )


def check_images(run: RunData) -> None:
    """Raises ValueError for rows that are no images."""
    if run.dataset.kind != "image":
        raise ValueError(
            "`dataset` must be images. Received: dataset="
            f"{run.dataset.name}; missing cells of tables are filled by "
            "keras_ebm.estimators.EnergyImputer."
        )


def train_energy(run: RunData, energy: EnergySettings):
    """The energy of a run's training rows."""
    x, _ = run.rows("train")
    model = build_energy(energy, take(x, slice(1_000)))
    model.trained_on = data.split_digest(run.splits)
    rows = tf.data.Dataset.from_tensor_slices(np.asarray(x))
    batches = rows.shuffle(len(x), seed=energy.seed).repeat().batch(energy.batch_size)
    options_of = tf.data.Options()
    options_of.deterministic = True
    model.fit(
        batches.with_options(options_of),
        steps_per_epoch=energy.train_steps,
        shuffle=False,
        verbose=0,
    )
    model.optimizer.finalize_variable_values(model.network.trainable_variables)
    return model


def _prepared(run, model, part, count) -> np.ndarray:
    x, _ = run.rows(part)
    return np.asarray(model.preprocess(take(x, slice(count))), np.float32)


def _figures(x, observed, corruption, found) -> dict:
    hidden = hidden_entries(corruption, observed)
    start = np.clip(corruption.start(tf.constant(observed)), -1.0, 1.0)
    ratios = psnr(x, found.mean, where=hidden)
    return {
        "psnr_observed": float(psnr(x, start, where=hidden).mean()),
        "psnr_mean": float(ratios.mean()),
        "psnr_stderr": float(ratios.std() / len(ratios) ** 0.5),
        "psnr_chain": float(psnr(x, found.chains[0], where=hidden).mean()),
        "rows": len(x),
        "chains": len(found.chains),
    }


def dry_run(settings: RestoreSettings, energy: EnergySettings) -> dict:
    """Builds the energy, trains it by one update of two made-up rows, restores them.

    Returns:
        Dict: `parameters` of the network, and seconds of the update and of one step of
        a walk, each of two rows and with what is compiled at first.
    """
    run = synthetic(_data_settings(settings, energy.seed))
    check_images(run)
    corruption = parse_corruption(settings.corruption, run.dataset.input_shape)
    x, _ = run.rows("train")
    x = np.asarray(take(x, slice(2)))
    model = build_energy(energy, x)
    begin = time.perf_counter()
    model.train_on_batch(x)
    trained = time.perf_counter()
    (walk,) = walks(model, corruption, energy, (1,), (1.0,))
    rows = tf.constant(np.asarray(model.preprocess(x), np.float32))
    observed = corruption.corrupt(rows, StepRandom(energy.seed, 0))
    restore(model, observed, corruption, walk, num_chains=1)
    return {
        "parameters": model.network.count_params(),
        "seconds_update": trained - begin,
        "seconds_walk": time.perf_counter() - trained,
    }


def write(figures: dict, panels: dict, output: Path) -> None:
    """Writes `results.json` and `picture.png` into a folder."""
    files.make_folder(output)
    json_files.write_json(output / RESULTS, figures)
    plots.save(plots.draw_restorations(panels), output / PICTURE)


def _inputs(settings) -> dict:
    """Files that are read, by flag."""
    found = folders.files_of_spec("dataset", settings.dataset)
    return {**found, **(folders.files_of_run(settings.model) if settings.model else {})}


def main(argv: list[str]) -> None:
    del argv
    options.apply_preset(PRESETS)
    settings = options.from_flags(RestoreSettings)
    energy = options.from_flags(EnergySettings)
    if not settings.model:
        options.require("dataset")
    if FLAGS.dry_run:
        with errors.usage_errors():
            cost = dry_run(settings, energy)
        for name, value in cost.items():
            text = f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
            print(f"{name:16s} {text}")
        return
    output = folders.require_folder("output")
    names = [RESULTS, PICTURE]
    if not settings.model:
        names += [folders.MODEL_FILE, folders.RUN_FILE, folders.SPLIT_FILE]
    written = {name: str(output / name) for name in names}
    folders.check_apart(written, _inputs(settings))
    with errors.usage_errors():
        plots.pyplot()
        figures, panels, model, run = restore_rows(settings, energy)
    write(figures, panels, output)
    if not settings.model:
        record.write_record(run, output)
        files.save_model(model, output / folders.MODEL_FILE)
    shown = {name: figures[name] for name in ("psnr_observed", "psnr_mean")}
    json_files.print_metrics({**shown, "walk": figures["walk"], "output": str(output)})


def define(argv: list[str]) -> dict:
    """Defines the flags; returns the presets."""
    del argv
    for settings_class in (RestoreSettings, EnergySettings, ImportSettings):
        options.define_flags(settings_class)
    return PRESETS


if __name__ == "__main__":
    running.run_program(main, define)
