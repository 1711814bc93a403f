r"""NICE on MNIST in the space of logits: test log-likelihood by method of training.

54,000 training images, 6,000 to stop early on, 10,000 to measure on. Every method
has the same network, batch 100 and 600 steps, which two cores can afford. Learning
rates were chosen by validation, on seed 10 but for one trial (`docs/results.md` says
how many each had; VERA's plain rows share log-volume's). The network is small (four
couplings of 128-128-128-128) for the same reason: for the
papers' pass `--hidden=1000,1000,1000,1000 --steps=54000`. One file a run: what is
there already is not repeated. Run from the top of the checkout:

    python -m benchmarks.nice --data_dir=DIR --output=benchmarks/results/nice
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.saved import read_saved
from keras_ebm import plots
from keras_ebm.trainers import likelihood
from keras_ebm.trainers.presets import VERA_NICE
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.density import DensitySettings

#: One Hamiltonian transition a step for each of 100 chains.
HMC_NAMES = (
    "move_steps",
    "move_leapfrog",
    "initial_step_size",
    "move_acceptance",
    "move_adaptation",
    "buffer_size",
)
HMC = {name: VERA_NICE[name] for name in HMC_NAMES}
CHAINS = {
    name: value
    for name, value in VERA_NICE.items()
    if name in DensitySettings.__dataclass_fields__ and name != "hidden"
}
#: The same generator, whose samples are the negatives.
VERA = {
    **CHAINS,
    "learning_rate": 2e-4,
    "gradient_penalty": 0.1,
    "correction": "none",
}
METHODS = {
    "maximum likelihood": {"method": "maximum_likelihood", "learning_rate": 1e-3},
    "sliced score matching": {
        "method": "sliced_score_matching",
        "learning_rate": 3e-4,
    },
    "sliced score matching, variance reduced": {
        "method": "sliced_score_matching_vr",
        "learning_rate": 3e-4,
    },
    "denoising score matching": {
        "method": "denoising_score_matching",
        "learning_rate": 1e-3,
    },
    "conditional noise contrast": {
        "method": "noise_contrastive",
        "learning_rate": 1e-4,
        "noise_stddev": 0.3,
    },
    "persistent chains": {
        **HMC,
        "method": "persistent_chains",
        "learning_rate": 1e-3,
        "gradient_penalty": 0.03,
        "restart_share": 0.0,
    },
    "VERA, importance sampling": {**VERA, "entropy": "importance"},
    "VERA, log-volume": {**VERA, "entropy": "log_volume"},
    "VERA, Hamiltonian": {**VERA, "entropy": "hmc"},
    "VERA, mutual information": {**VERA, "entropy": "mutual_information"},
    "VERA, no entropy": {**VERA, "entropy": "none"},
    "VERA, log-volume, samples moved": {
        **CHAINS,
        "learning_rate": 3e-4,
        "correction": "resample",
        "minimum_share": 0.9,
    },
    "VERA, log-volume, chains from its samples": CHAINS,
}


def run_one(method: str, seed: int, settings) -> dict:
    """Trains one density; returns its measures, nats in the space of logits."""
    run = data.load(
        data.DataSettings(dataset="tfds:mnist", data_dir=settings.data_dir, seed=seed)
    )
    common_settings = {"hidden": settings.hidden, "beta_1": 0.9, "beta_2": 0.999}
    if settings.learning_rate:
        common_settings["learning_rate"] = settings.learning_rate
    density = DensitySettings(**{**METHODS[method], **common_settings})
    with tempfile.TemporaryDirectory() as folder:
        fit = likelihood.StepSettings(
            workdir=folder, steps=settings.steps, validate_every=50, verbose=0
        )
        _, metrics = likelihood.train(run, density, fit)
        with open(Path(folder) / "history.csv", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(",") for line in file]
    place = lines[0].index("val_data_energy")
    # Of standardised inputs: the log-likelihood up to a constant of the data.
    metrics["validation_energies"] = [float(line[place]) for line in lines[1:]]
    return metrics


def table(folder: Path, seeds: int) -> str:
    """Markdown: mean ± standard deviation over seeds, and the worst seed."""
    lines = [
        "| method | test log-likelihood, nats | worst seed | best step | s a run |",
        "|---|---|---|---|---|",
    ]
    for method in METHODS:
        paths = [file_of(folder, method, seed) for seed in range(seeds)]
        runs = read_saved(paths)
        if not runs:
            continue
        values = [run["test_log_likelihood"] for run in runs]
        diverged = sum("diverged" in run for run in runs)
        steps = ", ".join(str(run["best_step"]) for run in runs)
        lines.append(
            f"| {method} | {np.mean(values):.1f} ± {np.std(values):.1f} "
            f"| {min(values):.1f} | {steps}"
            + (f" ({diverged} of {len(runs)} then diverged)" if diverged else "")
            + f" | {np.mean([run['seconds'] for run in runs]):.0f} |"
        )
    return "\n".join(lines)


def draw(folder: Path, seeds: int) -> None:
    """Draws validation energy against steps, seed 0, as `FOLDER.png`."""
    figure, axis = plots.pyplot().subplots(figsize=(10, 5), layout="constrained")
    lowest = np.inf
    for index, method in enumerate(METHODS):
        path = file_of(folder, method, 0)
        if path.is_file():
            energies = json_files.read_json(path)["validation_energies"]
            steps = 50 * (1 + np.arange(len(energies)))
            style = "-" if index < 10 else "--"
            axis.plot(steps, energies, style, label=method)
            lowest = min(lowest, *energies)
    axis.set_ylim(lowest - 5, lowest + 250)
    axis.set(xlabel="steps", ylabel="-log p of validation rows, standardised, nats")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plots.save(figure, folder.with_suffix(".png"))


@dataclasses.dataclass(frozen=True)
class NiceSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of prepared tensorflow-datasets.")
    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(3, "Seeds 0, 1, ... of each run.")
    first_seed: int = options.setting(0, "The first of them.")
    hidden: tuple = options.setting(("128",) * 4, "Widths of the couplings' layers.")
    steps: int = options.setting(600, "Steps of each run.")
    learning_rate: float = options.setting(0.0, "For all methods; 0: each has its own.")
    only: str = options.setting("", "One method; default all.")
    table: bool = options.setting(False, "Only print the table of --output.")


def file_of(folder: Path, method: str, seed: int) -> Path:
    """Where one run's measures are saved."""
    return folder / f"{method} - {seed}.json".replace(" ", "_").replace(",", "")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(NiceSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    methods = [settings.only] if settings.only else list(METHODS)
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    for seed in seeds if not settings.table else []:
        for method in methods:
            path = file_of(folder, method, seed)
            if path.is_file():
                continue
            results = run_one(method, seed, settings)
            json_files.write_json(path, {"machine": machine(), **results})
            print(path.name, results["validation_log_likelihood"], flush=True)
    draw(folder, settings.seeds)
    print(table(folder, settings.seeds))


if __name__ == "__main__":
    options.define_flags(NiceSettings)
    running.run_program(main)
