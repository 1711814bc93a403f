r"""Densities in the plane: nats lost to the truth, by every way of training here.

The same energy network, 4,988 steps of batch 200, seeds 0, 1, 2 (settings were
chosen on seeds from 10 up): VERA's preset for the plane, VERA as published but for
the networks, persistent chains, and maximum likelihood on a grid, which is the
ceiling. An ablation changes a part of the preset at a time. One file a run: what is
there already is not repeated. Run from the top of the checkout:

    python -m benchmarks.plane --output=benchmarks/results/plane
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.saved import read_saved
from keras_ebm import plots
from keras_ebm.trainers import langevin, likelihood, vera
from keras_ebm.trainers.presets import PCD, VERA_2D, VERA_TOY, with_preset
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.chains import ChainSettings
from keras_ebm.trainers.settings.density import DensitySettings
from keras_ebm.trainers.settings.vera import ModelSettings

DENSITIES = ("8gaussians", "rings", "moons", "checkerboard")
#: Half the side of the square in the picture.
EXTENT = 4.0
NETWORKS = {name: VERA_2D[name] for name in ("hidden", "generator_hidden")}
#: VERA by its changes to a preset.
VERAS = {
    "VERA, preset vera_2d": (VERA_2D, {}),
    "VERA as published, same networks": (VERA_TOY, NETWORKS),
}
CHAINS = "persistent chains, preset pcd"
GRID = "maximum likelihood on a grid"
METHODS = (*VERAS, CHAINS, GRID)
#: The same network and steps for the grid.
GRID_SETTINGS = {
    **{k: PCD[k] for k in ("toy_rows", "batch_size", "network", "hidden")},
    **{k: PCD[k] for k in ("base_stddev", "standardise", "beta_1", "beta_2")},
    "method": "grid",
    "steps": 4_988,
    "validate_every": 1_247,
    "learning_rate": VERA_2D["learning_rate"],
    "schedule": "cosine",
}
#: The preset with parts changed, on ABLATED.
ABLATIONS = {
    "importance sampling, negatives as they are": {
        "entropy": "importance",
        "fold_weight": 0.0,
        "correction": "none",
    },
    "importance sampling, latent refinement": {
        "entropy": "importance",
        "fold_weight": 0.0,
        "correction": "latent",
    },
    "negatives as they are, penalty 0.1": {
        "correction": "none",
        "gradient_penalty": 0.1,
    },
    "weights alone, no moves": {"correction": "weights"},
    "penalty 0.1": {"gradient_penalty": 0.1},
    "no fold term": {"fold_weight": 0.0},
}
ABLATED = ("rings",)


def run_one(method: str, density: str, seed: int):
    """Trains one model; returns it and its measures, `nll_gap` in nats among them.

    A run without a finite normaliser has no `nll_gap`.
    """
    if method == GRID:
        return _grid(density, seed)
    if method == CHAINS:
        program, preset, settings = langevin, PCD, with_preset(PCD, ChainSettings)
    else:
        preset, changes = VERAS.get(method) or (VERA_2D, ABLATIONS[method])
        program, settings = vera, with_preset(preset, ModelSettings, **changes)
    run = data.load(
        with_preset(preset, data.DataSettings, dataset=f"toy:{density}", seed=seed)
    )
    with tempfile.TemporaryDirectory() as folder:
        fit = with_preset(
            preset, program.FitSettings, workdir=folder, verbose=0, picture=False
        )
        start = time.perf_counter()
        try:
            model, metrics = program.train(run, settings, fit)
        except RuntimeError as error:
            return None, {"diverged": str(error)}
        return model, {**metrics, "seconds": time.perf_counter() - start}


def _grid(density, seed):
    preset = GRID_SETTINGS
    run = data.load(
        with_preset(preset, data.DataSettings, dataset=f"toy:{density}", seed=seed)
    )
    with tempfile.TemporaryDirectory() as folder:
        fit = with_preset(
            preset, likelihood.StepSettings, workdir=folder, verbose=0, picture=False
        )
        try:
            return likelihood.train(run, with_preset(preset, DensitySettings), fit)
        except RuntimeError as error:
            return None, {"diverged": str(error)}


def table(folder: Path, methods, densities, seeds: int) -> str:
    """Markdown: mean ± standard deviation over seeds, and the worst seed."""
    lines = ["| method | " + " | ".join(densities) + " | s a run |"]
    lines += ["|---|" + "---|" * (len(densities) + 1)]
    for method in methods:
        cells, seconds = [], []
        for density in densities:
            runs = saved(folder, method, density, seeds)
            seconds += [run["seconds"] for run in runs if "seconds" in run]
            few = f" ({len(runs)} of {seeds} seeds)" if 0 < len(runs) < seeds else ""
            cells.append(cell(runs) + few)
        cells.append(f"{np.mean(seconds):.0f}" if seconds else "")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(runs: list[dict]) -> str:
    """What a table says of the runs of one method on one density."""
    if not runs:
        return "not run"
    gaps = [run["nll_gap"] for run in runs if "nll_gap" in run]
    lost = len(runs) - len(gaps)
    if not gaps:
        return f"no finite mass in {lost} of {len(runs)}"
    text = f"{np.mean(gaps):.3f} ± {np.std(gaps):.3f}, worst {max(gaps):.3f}"
    return text + (f"; no finite mass in {lost} of {len(runs)}" if lost else "")


def saved(folder: Path, method: str, density: str, seeds: int) -> list[dict]:
    paths = [file_of(folder, method, density, seed) for seed in range(seeds)]
    return read_saved(paths)


def file_of(folder: Path, method: str, density: str, seed: int) -> Path:
    """Where one run's measures are saved."""
    name = f"{density} - {method} - {seed}".replace(" ", "_").replace(",", "")
    return folder / f"{name}.json"


def keep_picture(path: Path, energy_fn) -> None:
    """Saves `exp(-E)` over [-4, 4] squared as 100x100 bytes beside a run's measures."""
    line = np.linspace(-EXTENT, EXTENT, 100, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    energy = np.asarray(energy_fn(points), np.float64).reshape(100, 100)
    density = np.rint(255.0 * np.exp(energy.min() - energy)).astype(np.uint8)
    np.savez_compressed(path.with_suffix(".npz"), density=density)


def draw(folder: Path) -> None:
    """Draws the densities learnt with seed 0: a row a method, a column a density."""
    figure, axes = plots.pyplot().subplots(
        len(METHODS),
        len(DENSITIES),
        figsize=(3 * len(DENSITIES), 3.2 * len(METHODS)),
        layout="constrained",
    )
    box = (-EXTENT, EXTENT, -EXTENT, EXTENT)
    for row, method in zip(axes, METHODS, strict=True):
        for axis, density in zip(row, DENSITIES, strict=True):
            axis.axis("off")
            path = file_of(folder, method, density, 0)
            if path.with_suffix(".npz").is_file():
                picture = np.load(path.with_suffix(".npz"))["density"]
                axis.imshow(picture, origin="lower", extent=box, cmap="magma")
                gap = json_files.read_json(path)["nll_gap"]
                axis.set_title(f"{method}\n{density}: {gap:.3f} nats", fontsize=8)
    plots.save(figure, folder.with_suffix(".png"))


@dataclasses.dataclass(frozen=True)
class PlaneSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "Folder to write to and to continue.")
    seeds: int = options.setting(3, "Seeds 0, 1, ... of each run.")
    part: str = options.setting("all", "methods, ablation, or all.")
    only: str = options.setting("", "One method of these; default all.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def tables(folder: Path, seeds: int) -> str:
    return "\n\n".join(
        [
            "NLL - H in nats, 0 is perfect; mean ± standard deviation over seeds.",
            table(folder, METHODS, DENSITIES, seeds),
            "The preset with one part changed:",
            table(folder, [METHODS[0], *ABLATIONS], ABLATED, seeds),
        ]
    )


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(PlaneSettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for seed in range(settings.seeds):
        if settings.part in ("methods", "all"):
            jobs += [(m, d, seed) for d in DENSITIES for m in METHODS]
        if settings.part in ("ablation", "all"):
            jobs += [(m, d, seed) for d in ABLATED for m in ABLATIONS]
    for method, density, seed in jobs if not settings.table else []:
        path = file_of(folder, method, density, seed)
        if path.is_file() or settings.only not in ("", method):
            continue
        model, results = run_one(method, density, seed)
        json_files.write_json(path, {"machine": machine(), **results})
        print(path.name, results.get("nll_gap"), flush=True)
        if seed == 0 and method in METHODS and "nll_gap" in results:
            keep_picture(path, model.energy)
    draw(folder)
    print(tables(folder, settings.seeds))


if __name__ == "__main__":
    options.define_flags(PlaneSettings)
    running.run_program(main)
