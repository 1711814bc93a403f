r"""Bounds the log-likelihood of a run's test rows under its energy, from both sides.

Run it as:

    keras-ebm bounds --model=runs/digits/model.keras --steps=2000 \
        --output=runs/digits/bounds.json

Chains are annealed from a uniform density (of images) or a normal one to the energy at
temperature 1 and back. A model that was trained by chains colder than that, as IGEBM's
are, is another density at temperature 1; `--temperature` says which is meant.
"""

import dataclasses
import math

import numpy as np

from keras_ebm import plots
from keras_ebm.models.base import check_float_input
from keras_ebm.rows import take
from keras_ebm.samplers import BoxSpace, WhitenedSpace, log_z_bounds
from keras_ebm.trainers.program import (
    errors,
    folders,
    json_files,
    keras_files,
    options,
    running,
)
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.program.options import SEED, Checked, setting
from keras_ebm.trainers.run import record

#: Rows that tell how far a density reaches.
ROWS_OF_SPACE = 5_000


@dataclasses.dataclass(frozen=True)
class BoundSettings(Checked):
    """Of which density, on how many rows, by how much annealing."""

    CHOICES = {"starts": ("chains", "exact")}

    model: str = setting("", "model.keras in the folder of its run.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    rows: int = setting(1_000, "Test rows at most.", low=2)
    chains: int = setting(64, "Chains of each direction.", low=2)
    steps: int = setting(1_000, "Temperatures of each direction.", low=1)
    leapfrog: int = setting(5, "Leapfrog steps at each temperature.", low=1)
    step_size: float = setting(
        0.0, "Of a leapfrog step. 0 finds one that is accepted.", low=0
    )
    burn_in: int = setting(
        200, "Transitions that make forward ends into starts of the way back.", low=1
    )
    starts: str = setting(
        "chains",
        "Samples that the way back starts from: ends of the forward chains, or exact "
        "ones, which normalised networks draw.",
    )
    temperature: float = setting(
        1.0, "That the energy is divided by; the density meant is exp(-E / T).", above=0
    )
    seed: int = setting(0, "Of the chains.", **SEED)
    output: str = setting("", "JSON file to write; optional.")


def bounds(settings: BoundSettings) -> dict:
    """Measures; see the module.

    Args:
        settings: `BoundSettings`.

    Returns:
        Flat dict, in nats: `log_z_lower`, `log_z_upper` with standard errors and
        effective chains, `log_likelihood_lower` and `_upper` of a test row of
        preprocessed entries, `bits_per_dim_lower` and `_upper` of pixels of 256 levels,
        `acceptance`, `step_size`, `gradients` (of the energy of one input), `seconds`;
        for a normalised network `log_likelihood_exact`.

    Raises:
        ValueError: if the model or the settings allow no bounds.
    """
    model = keras_files.load_model(settings.model)
    check_float_input(model.network, f"model={settings.model}")
    if model.label_size:
        raise ValueError(
            "`model` must be an energy of inputs alone. Received: one of labels."
        )
    run = record.recall(settings.model, data_dir=settings.data_dir)
    x, _ = run.rows("test")
    x = model.preprocess(take(x, slice(settings.rows)))

    def energy_fn(inputs):
        return model.inputs_energy(inputs) / settings.temperature

    space, base = _space(model, run, x)
    found = log_z_bounds(
        space.energy_fn(energy_fn),
        base,
        num_chains=settings.chains,
        num_steps=settings.steps,
        num_leapfrog=settings.leapfrog,
        step_size=settings.step_size or None,
        starts=_starts(model, space, settings),
        burn_in=settings.burn_in,
        seed=settings.seed,
    )
    energies = np.concatenate(
        [np.asarray(energy_fn(x[i : i + 256])) for i in range(0, len(x), 256)]
    )
    low, high = found.log_likelihood(energies)
    results = {
        "log_z_lower": found.lower,
        "log_z_lower_stderr": float(found.forward.stderr),
        "log_z_lower_chains": float(found.forward.effective_sample_size),
        "log_z_upper": found.upper,
        "log_z_upper_stderr": float(found.reverse.stderr),
        "log_z_upper_chains": float(found.reverse.effective_sample_size),
        "log_likelihood_lower": low,
        "log_likelihood_upper": high,
        **(_bits(low, high, space) if isinstance(space, BoxSpace) else {}),
        "acceptance": float(found.forward.acceptance),
        "step_size": found.step_size,
        "gradients": found.gradients,
        "seconds": found.seconds,
        "rows": len(energies),
    }
    if model.is_normalised and settings.temperature == 1.0:
        results["log_likelihood_exact"] = -float(energies.mean())
    return results


def _space(model, run, x):
    """What the density lives on, and what is annealed from there.

    Pixels live in their box, and vectors everywhere; those are told by training rows,
    or by a normalised network's own samples, how far they reach.
    """
    if x.shape.rank == 4:
        space = BoxSpace(x.shape[1:], *plots.pixel_range(model)).check()
        return space, space.uniform()
    if model.is_normalised and hasattr(model.network, "sample"):
        rows = model.network.sample(ROWS_OF_SPACE, 0)
    else:
        rows = model.preprocess(take(run.rows("train")[0], slice(ROWS_OF_SPACE)))
    space = WhitenedSpace.of_rows(np.asarray(rows))
    return space, space.wide_normal()


def _starts(model, space, settings):
    if settings.starts == "chains":
        return None
    if not (model.is_normalised and hasattr(model.network, "sample")):
        raise ValueError(
            "`starts` exact needs a normalised network that draws samples, such as "
            f"NICE. Received: starts=exact for {model.network.name!r}; use "
            "starts=chains."
        )
    x = model.network.sample(settings.chains, settings.seed)
    return space.from_box(x) if isinstance(space, BoxSpace) else space.from_rows(x)


def _bits(low, high, space) -> dict:
    """Bits of each of 256 levels, where a density is spread over their widths."""
    dims = math.prod(space.shape)
    level = math.log((space.high - space.low) / 256.0)
    return {
        "bits_per_dim_lower": -(high / dims + level) / math.log(2.0),
        "bits_per_dim_upper": -(low / dims + level) / math.log(2.0),
    }


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BoundSettings)
    options.require("model")
    if settings.output:
        output = folders.require_file("output")
        folders.check_apart(
            {"output": settings.output}, folders.files_of_run(settings.model)
        )
    with errors.usage_errors():
        results = bounds(settings)
    if settings.output:
        folders.make_parent(output)
        json_files.write_json(output, results)
    json_files.print_metrics(results)


if __name__ == "__main__":
    for settings_class in (BoundSettings, ImportSettings):
        options.define_flags(settings_class)
    running.run_program(main)
