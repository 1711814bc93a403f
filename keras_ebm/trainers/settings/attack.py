"""Settings of attacks on a classifier, and of its refinement by chains."""

import dataclasses

from keras_ebm.negatives import LangevinMoves
from keras_ebm.robust import NORMS, Refined
from keras_ebm.trainers.program.options import SEED, Checked, setting

#: By name: what the attack is.
ATTACKS = {
    "pgd": "gradient ascent of the cross-entropy",
    "margin": "gradient ascent of the margin between logits",
    "eot": "pgd with each gradient a mean over draws of the refinement",
    "bpda": "pgd as if the refinement were the identity",
    "square": "random search by answers alone",
    "transfer": "pgd on another model, or on this one without its refinement",
}
#: Those that need a refinement.
OF_REFINEMENT = ("eot", "bpda")

#: Robust classification of the second paper: its attack had neither restarts nor
#: gradients through the refinement, started at 8/255 whatever the bound, and did not
#: clip to the range of pixels; here it does.
PRESETS = {
    "igebm_robust": {
        "norm": "linf",  # [C]
        "bounds": ("0", "0.0157", "0.0314", "0.0510", "0.0784", "0.1176"),  # [C] /255
        "attack": ("pgd", "margin", "bpda", "square", "transfer"),
        "num_steps": 20,  # [M]
        "step_size": 0.00784,  # [C] 2/255
        "refine_steps": 10,  # [C]
        "refine_step_size": 10.0,  # [C]
        "refine_noise": 0.005,  # [C]
        "refine_radius": 0.0314,  # [C] 8/255; the paper says 0.03 [M]
        "rows": 10_000,  # [?]
    },
}


@dataclasses.dataclass(frozen=True)
class AttackSettings(Checked):
    """Which model, attacked how far and how hard."""

    CHOICES = {"norm": NORMS, "preset": ("", *PRESETS)}
    SUBJECTS = {
        "model": "Data and model",
        "norm": "Attacks",
        "refine_steps": "Refinement",
        "target_fpr": "Refusals",
        "output": "What is written",
    }

    model: str = setting("", "model.keras in the folder of its run.")
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    surrogate: str = setting(
        "", "model.keras that transfer attacks; empty: the model without refinement."
    )
    rows: int = setting(500, "Test rows at most.", low=1)
    norm: str = setting("linf", "Norm of a change.")
    bounds: tuple = setting(
        ("0", "0.05", "0.1", "0.2", "0.3"),
        "Largest changes: of images where a pixel goes from 0 to 1, of others in units "
        "of preprocessed inputs.",
    )
    attack: tuple = setting(
        ("pgd", "margin", "square"), f"Attacks: {', '.join(ATTACKS)}."
    )
    num_steps: int = setting(20, "Steps of gradient ascent.", low=1)
    step_size: float = setting(
        0.0, "Of these, in units of bounds. 0: 2.5 times the bound over them.", low=0
    )
    restarts: int = setting(1, "Random starts.", low=1)
    eot: int = setting(4, "Draws that a gradient of eot is a mean over.", low=1)
    queries: int = setting(500, "Answers that square asks of a row.", low=1)
    rows_at_a_time: int = setting(500, "Rows in memory together.", low=1)
    refine_steps: int = setting(
        0, "Langevin steps of each class before it answers; 0: none.", low=0
    )
    refine_radius: float = setting(
        0.1, "Ball that these stay in, in units of bounds.", above=0
    )
    refine_step_size: float = setting(10.0, "Of these, with pixels 0 to 1.", above=0)
    refine_noise: float = setting(0.005, "Of these, in units of bounds.", low=0)
    target_fpr: float = setting(
        0.05,
        "Share of calibration rows that a detector by the energy may refuse, whose "
        "refusals of attacked rows are counted. 0: none are.",
        low=0,
        below=1,
    )
    evade_weights: tuple = setting(
        ("0.1", "1", "10"),
        "Weights of the score above the threshold, of attacks that know the detector.",
    )
    seed: int = setting(0, "Of random starts and draws.", **SEED)
    output: str = setting("", "Folder of results.json and picture.png.")
    preset: str = setting("", "Values of other flags by a name.")
    dry_run: bool = setting(
        False,
        "Whether to take one step on one row and write nothing; without a model on an "
        "untrained network of the preset's paper.",
    )


def build_refined(model, settings: AttackSettings, unit: float, box) -> Refined | None:
    """The refinement of the settings, or None.

    Args:
        model: `EnergyModel` with classes.
        settings: `AttackSettings`.
        unit: float, preprocessed units that a bound of 1 is.
        box: `(low, high)` of preprocessed inputs, or None.
    """
    if not settings.refine_steps:
        return None
    moves = LangevinMoves(
        settings.refine_steps,
        settings.refine_step_size * unit**2,
        settings.refine_noise * unit,
        box=box,
    )
    return Refined(model, moves, radius=settings.refine_radius * unit)
