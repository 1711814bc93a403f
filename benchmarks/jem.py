r"""JEM by a generator and by chains: one small network, equal wall-clock.

MNIST: 10,000 training images, the small convolutional network, batch 64. CIFAR-10:
the training images that there are, WRN-10-1, batch 40, moved and mirrored. Adam with
a cosine to 0. Steps of all methods are timed first, alternating in one process, and
each method then trains for as many steps as fit into `--seconds`; those of a *late* one
are the plain classifier's in the first four fifths of the time, in one run, and one of
*two stages* starts from the plain classifier's weights after seven tenths of it, with a
cosine of its own. Settings of the two
contrastive methods were chosen on MNIST by validation accuracy on seed 10, which is not
reported: five trials for VERA, seven for chains. One file a run: what
is there already is not repeated. Run from the top of the checkout:

    python -m benchmarks.jem --data_dir=DIR --output=benchmarks/results/jem
    python -m benchmarks.jem --task=cifar10 --train_size=0 --seconds=600 --seeds=2 \
        --data_dir=DIR --output=benchmarks/results/jem_cifar10

draw them and print the tables with `--table`.
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from benchmarks.machine import machine
from benchmarks.saved import read_saved, spread
from benchmarks.step_time import alternate, step_function
from keras_ebm import plots
from keras_ebm.trainers import langevin, vera
from keras_ebm.trainers.evaluate import EvaluateSettings, evaluate
from keras_ebm.trainers.program import folders, json_files, options, running
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.chains import ChainSettings, build_langevin
from keras_ebm.trainers.settings.optimizers import compile_model
from keras_ebm.trainers.settings.vera import ModelSettings, build_model

#: Scores to report: of the energy, and free ones of any classifier.
SCORES = ("energy", "max_softmax", "approximate_mass", "knn", "energy+knn")
#: JEM's chains as published, but for the optimizer.
CHAINS = {
    "num_steps": 20,
    "step_size": 1.0,
    "noise_stddev": 0.01,
    "keep_in_range": False,
    "buffer": "in_place",
    "buffer_size": 10_000,
    "restart_share": 0.05,
    "data_stddev": 0.03,
    "energy_weight": 0.03,
    "beta_1": 0.9,
    "beta_2": 0.999,
}
CONTRASTIVE = {
    "objective": "contrastive",
    "energy_weight": 0.01,
    "gradient_penalty": 1.0,
    "entropy_weight": 0.01,
}
PLAIN, CONTRASTIVE_JEM = "plain classifier", "VERA-JEM, contrastive"


class Method(NamedTuple):
    """How a network is trained.

    Args:
        program: of `PROGRAMS`.
        changes: what it passes beside the task's own.
        late: share of the time, from 0 to 1, that is left for energies after the
            cross-entropy alone; 0: energies from the start.
        second_rate: learning rate of a run of its own for the energies, which starts
            from the plain classifier's weights; 0: one run.
    """

    program: str
    changes: dict
    late: float = 0.0
    second_rate: float = 0.0


def _generator(**changes) -> Method:
    return Method("vera", {"negatives": "generator", **changes})


METHODS = {
    PLAIN: Method("vera", {"negatives": "none"}),
    "VERA-JEM, logistic": _generator(),
    CONTRASTIVE_JEM: _generator(**CONTRASTIVE),
    "chain-JEM, 20 steps": Method("langevin", CHAINS),
    "VERA-JEM, log volume": _generator(entropy="log_volume"),
    "VERA-JEM, mutual information": _generator(entropy="mutual_information"),
    "VERA-JEM, no entropy": _generator(entropy_weight=0.0),
    "mixed negatives": Method("vera", {"negatives": "mixed"}),
    "mixed negatives, late": Method("vera", {"negatives": "mixed"}, late=0.2),
    "mixed negatives, two stages": Method(
        "vera", {"negatives": "mixed"}, late=0.3, second_rate=3e-4
    ),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, batch and what all methods share; `changes` are of single methods."""

    dataset: str
    batch: int
    foreign: tuple
    shared: dict
    changes: dict
    augment: str = "none"


TASKS = {
    "mnist": Task(
        "tfds:mnist",
        64,
        ("rotate:90", "tfds:cifar10", "noise:uniform"),
        {},
        {"chain-JEM, 20 steps": {"learning_rate": 5e-3}},
    ),
    # Nothing was tuned on it: the weights are those of MNIST, the rate is one for all,
    # and the width is 1 so that chains take some hundred steps in the time.
    "cifar10": Task(
        "tfds:cifar10",
        40,
        ("tfds:cifar100", "tfds:mnist", "interpolate", "noise:uniform"),
        {"network": "wide_resnet", "depth": 10, "width": 1, "learning_rate": 1e-3},
        {},
        "crop_flip",
    ),
}
PROGRAMS = {
    "vera": (vera, ModelSettings, build_model),
    "langevin": (langevin, ChainSettings, build_langevin),
}
TIMES_FILE = "step_times.json"
PICTURE_FILE = "jem.png"


def settings_of(task: Task, method: str):
    """`(program, model settings)` of a method on a task."""
    program, changes = METHODS[method][:2]
    changes = {**changes, **task.shared, **task.changes.get(method, {})}
    return PROGRAMS[program][0], PROGRAMS[program][1](**changes)


def timed_as(method: str) -> str:
    """The method whose step is that of this one."""
    own = METHODS[method]
    same = [
        m
        for m, other in METHODS.items()
        if other == own._replace(late=0.0, second_rate=0.0)
    ]
    return same[0] if same else method


def load(seed: int, settings):
    """The training images of the task, split by `seed`."""
    return data.load(
        data.DataSettings(
            dataset=TASKS[settings.task].dataset,
            data_dir=settings.data_dir,
            train_size=settings.train_size,
            seed=seed,
        )
    )


def step_times(settings, methods) -> dict:
    """Milliseconds a step of methods, by block, alternating."""
    task, run = TASKS[settings.task], load(0, settings)
    x, _ = run.rows("train")
    functions = {}
    for method in methods:
        _, model_settings = settings_of(task, method)
        build = PROGRAMS[METHODS[method].program][2]
        model = build(run.dataset, x, model_settings, 0)
        compile_model(model, model_settings, 1, 1)
        model.preprocessor = None  # The rows of the timing are preprocessed.
        functions[method] = step_function(model, task.batch)
    return alternate(functions, settings.blocks, steps=10)


def complete_times(path: Path, settings, methods) -> dict:
    """The step times in a file, those of methods that it has not yet added to it.

    The plain classifier's step is timed again beside the new ones, and they are put on
    the scale of what the file has.
    """
    times = json_files.read_json(path) if path.is_file() else {}
    known = times.get("milliseconds", {})
    wanted = dict.fromkeys(timed_as(method) for method in methods)
    missing = [method for method in wanted if method not in known]
    if not missing:
        return times
    measured = step_times(settings, dict.fromkeys([PLAIN, *missing]))
    plain = known.get(PLAIN, float(np.median(measured[PLAIN])))
    ratios = {m: values / measured[PLAIN] for m, values in measured.items()}
    times = {"machine": machine(), "batch": TASKS[settings.task].batch, **times}
    for name, value in {
        "milliseconds": {m: plain * float(np.median(v)) for m, v in ratios.items()},
        "ratio_to_plain": {m: float(np.median(v)) for m, v in ratios.items()},
        "quartiles_to_plain": {
            m: np.percentile(v, [25, 75]).tolist() for m, v in ratios.items()
        },
    }.items():
        times[name] = {**times.get(name, {}), **value}
    json_files.write_json(path, times)
    return times


def steps_of(method: str, times: dict, seconds: float) -> tuple[int, int]:
    """`(steps, plain steps among them)` of a method in a time."""
    milliseconds, late = times["milliseconds"], METHODS[method].late
    own = 1e3 * seconds / milliseconds[timed_as(method)]
    if not late:
        return max(1, round(own)), 0
    plain = round(1e3 * seconds * (1.0 - late) / milliseconds[PLAIN])
    return plain + round(late * own), plain


def run_one(method: str, seed: int, settings, times: dict) -> dict:
    """Trains for the wall-clock and evaluates; returns the measures."""
    task = TASKS[settings.task]
    module, model_settings = settings_of(task, method)
    run = load(seed, settings)
    steps, plain_steps = steps_of(method, times, settings.seconds)
    epoch = len(run.rows("train")[1]) // task.batch
    with tempfile.TemporaryDirectory() as folder:
        fit = module.FitSettings(
            workdir=folder,
            steps=steps,
            plain_epochs=round(plain_steps / epoch),
            batch_size=task.batch,
            augment=task.augment,
            fit_temperature=False,
            tensorboard=False,
            verbose=0,
        )
        start = time.monotonic()
        try:
            if METHODS[method].second_rate:
                first = f"{folder}/first"
                model_settings = started(method, run, plain_steps, fit, first, settings)
                fit = dataclasses.replace(
                    fit, steps=steps - plain_steps, plain_epochs=0
                )
            model, _ = module.train(run, model_settings, fit)
        except RuntimeError as error:
            return {"diverged": str(error), "steps": steps}
        seconds = time.monotonic() - start
        x, y = run.rows("validation")
        guess = np.argmax(model.logits(x), axis=-1)
        results = evaluate(
            EvaluateSettings(
                model=str(Path(folder) / folders.MODEL_FILE),
                dataset=task.dataset,
                data_dir=settings.data_dir,
                scores=",".join(SCORES),
                resamples=2,
                **sampled(model, settings),
            ),
            task.foreign,
        )
    if "samples" in results:
        # Of whose weights there is a digest besides.
        results["samples"].pop("feature_extractor", None)
    foreign = {
        spec: {name: values["auroc"] for name, values in scores.items()}
        for spec, scores in results.pop("ood").items()
    }
    return {
        **results,
        "validation_accuracy": float(np.mean(guess == y)),
        "steps": steps,
        "seconds": seconds,
        "auroc": foreign,
    }


def started(method: str, run, steps: int, fit, folder: str, settings):
    """Trains the plain classifier; returns settings of a run that starts from it."""
    task = TASKS[settings.task]
    plain = dataclasses.replace(fit, workdir=folder, steps=steps, plain_epochs=0)
    vera.train(run, settings_of(task, PLAIN)[1], plain)
    return dataclasses.replace(
        settings_of(task, method)[1],
        init=f"{folder}/{folders.MODEL_FILE}",
        learning_rate=METHODS[method].second_rate,
    )


def sampled(model, settings) -> dict:
    """What asks `evaluate` for the samples of a generator, where there is one."""
    extractor = settings.feature_extractor
    if not extractor or getattr(model, "generator", None) is None:
        return {}
    return {"samples": 5000, "feature_extractor": extractor}


def runs_of(folder: Path, method: str, seeds: int) -> list[dict]:
    """What is saved of a method's first `seeds` runs, those that diverged too."""
    paths = (file_of(folder, method, seed) for seed in range(seeds))
    return read_saved(paths)


def figure(folder: Path, task: Task, seeds: int):
    """Accuracy, ECE and AUROC of the energy and of max softmax: a dot a run."""
    drawn, axes = plots.pyplot().subplots(
        1, 4, figsize=(14, 3.8), width_ratios=(1, 1, 2, 2), layout="constrained"
    )
    foreign = list(task.foreign)
    found = {
        method: [r for r in runs_of(folder, method, seeds) if "diverged" not in r]
        for method in METHODS
    }
    found = {method: runs for method, runs in found.items() if runs}
    for index, runs in enumerate(found.values()):
        for axis, name in zip(axes, ("accuracy", "ece"), strict=False):
            values = [100 * run[name] for run in runs]
            axis.plot([index] * len(runs), values, "o", color=f"C{index}")
        for axis, score in zip(axes[2:], ("energy", "max_softmax"), strict=True):
            shift = 0.8 / len(found) * (index - 0.5 * (len(found) - 1))
            places = np.arange(len(foreign)) + shift
            for run in runs:
                values = [100 * run["auroc"][spec][score] for spec in foreign]
                axis.plot(places, values, "o", color=f"C{index}")
    titles = (
        "accuracy, %",
        "ECE, %",
        "AUROC of the energy, %",
        "AUROC, max softmax, %",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes[:2]:
        axis.set_ylim(bottom=0)
        axis.set_xlim(-0.5, len(found) - 0.5)
        axis.set_xticks([])
    for axis in axes[2:]:
        axis.axhline(50, color="grey", linewidth=0.8, linestyle=":")
        axis.set_xticks(range(len(foreign)), foreign, fontsize=8)
        axis.set_ylim(-3, 103)
    dots = axes[0].lines
    drawn.legend(dots, found, loc="outside lower center", ncols=5, fontsize=9)
    return drawn


def table(folder: Path, task: Task, seeds: int) -> str:
    """Markdown: mean ± standard deviation over seeds; AUROC in %, energy first."""
    times = json_files.read_json(folder / TIMES_FILE)
    whole, of = times["milliseconds"].get(CONTRASTIVE_JEM), "of VERA's"
    if whole is None:
        whole, of = times["milliseconds"][PLAIN], "of the plain one's"
    lines = [
        f"| method | steps | s a run | timed step, {of} | accuracy % | ECE % | "
        + " | ".join(task.foreign)
        + " |",
        "|---|---|---|---|---|---|" + "---|" * len(task.foreign),
    ]
    for method in METHODS:
        runs = runs_of(folder, method, seeds)
        good = [run for run in runs if "diverged" not in run]
        if not good:
            continue
        row = [", ".join(str(n) for n in sorted({run["steps"] for run in good}))]
        row += [f"{np.mean([run['seconds'] for run in good]):.0f}"]
        row += [f"{times['milliseconds'][timed_as(method)] / whole:.2f}"]
        row += [
            spread([100 * run[name] for run in good], 2) for name in ("accuracy", "ece")
        ]
        for spec in task.foreign:
            energy, softmax, knn = (
                spread([100 * run["auroc"][spec][score] for run in good])
                for score in ("energy", "max_softmax", "knn")
            )
            row.append(f"{energy} / {softmax} / {knn}")
        measured = [run["samples"] for run in good if "samples" in run]
        if measured:
            names = ("frechet_distance", "inception_score")
            shown = [spread([one[name] for one in measured], 2) for name in names]
            row.append(
                "samples: Frechet distance {}, inception score {}".format(*shown)
            )
        lost = len(runs) - len(good)
        name = f"{method} ({lost} of {len(runs)} diverged)" if lost else method
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def file_of(folder: Path, method: str, seed: int) -> Path:
    """Where one run's measures are saved."""
    return folder / f"{method} - {seed}.json".replace(" ", "_").replace(",", "")


@dataclasses.dataclass(frozen=True)
class JEMSettings:
    """Flags of the benchmark."""

    CHOICES = {"task": tuple(TASKS)}

    task: str = options.setting("mnist", "Data, network and batch.")
    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(3, "Seeds of each run.")
    first_seed: int = options.setting(0, "The first of them.")
    train_size: int = options.setting(10_000, "Training images; 0: all.")
    seconds: float = options.setting(60.0, "Wall-clock of each training.")
    blocks: int = options.setting(15, "Alternations of the timing.")
    only: str = options.setting("", "Methods, separated by semicolons; default all.")
    feature_extractor: str = options.setting(
        "", "Digit classifier of `benchmarks.digit_classifier`, to measure samples by."
    )
    table: bool = options.setting(False, "Only draw and print what is in --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(JEMSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.table:
        methods = settings.only.split(";") if settings.only else list(METHODS)
        times = complete_times(folder / TIMES_FILE, settings, methods)
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
            for method in methods:
                path = file_of(folder, method, seed)
                if path.is_file():
                    continue
                keras.backend.clear_session()
                results = run_one(method, seed, settings, times)
                json_files.write_json(path, {"machine": machine(), **results})
                print(path.name, results.get("accuracy"), flush=True)
    task = TASKS[settings.task]
    plots.save(figure(folder, task, settings.seeds), folder / PICTURE_FILE)
    print(table(folder, task, settings.seeds))


if __name__ == "__main__":
    options.define_flags(JEMSettings)
    running.run_program(main)
