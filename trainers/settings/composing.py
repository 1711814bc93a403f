"""Settings of what is composed: the pictures, the energy, and how it is sampled."""

import dataclasses

from keras_ebm.arguments import listed
from trainers.program.options import SEED, Checked, setting

#: dSprites of the second paper: separate energies a factor, by chains. Here one energy
#: of all, by denoising; the sizes are the paper's where they are tagged.
PRESETS = {
    "igebm_dsprites": {
        "dataset": "dsprites",  # [C]
        "side": 64,  # [C]
        "rows": 200_000,  # [?]; all 737,280 in the code [C]
        "filters": ("32", "64", "128", "128"),  # [C] but for the first layer's place
        "bottleneck": 128,  # [C] width of the dense layer
        "batch_size": 256,  # [C] default
        "learning_rate": 3e-4,  # [C]
        "steps": 20_000,  # [?]
    },
}
#: Two or three labels together, one alone, the best of some by another, either of two,
#: all but one, and a picture that walks to another label.
COMPOSITIONS = ("two", "three", "one", "best_of", "or", "not", "cross")


@dataclasses.dataclass(frozen=True)
class ComposeSettings(Checked):
    """What is learnt, how, and how much is drawn of it."""

    SUBJECTS = {
        "dataset": "Pictures",
        "steps": "Energy",
        "samples": "Samples",
        "output": "What is written",
    }
    CHOICES = {"dataset": ("sprites", "dsprites"), "preset": ("", *PRESETS)}

    dataset: str = setting(
        "sprites", "Figures drawn here, or dSprites of tensorflow-datasets."
    )
    data_dir: str = setting("", "Folder of prepared tensorflow-datasets.")
    rows: int = setting(40_000, "Training pictures.", low=2)
    side: int = setting(32, "Pixels of a side of sprites, a multiple of 16.", low=16)
    fold: int = setting(
        0,
        "Which combinations of size and position are never shown: a third, 0, 1 or 2.",
        low=0,
        high=2,
    )
    steps: int = setting(2_400, "Updates of the energy.", low=1)
    batch_size: int = setting(32, "Pictures of an update.", low=2)
    filters: tuple = setting(
        ("16", "32", "64"), "Channels at each resolution of the denoiser."
    )
    bottleneck: int = setting(
        64, "Width of the dense layer in the denoiser's middle; 0: none.", low=0
    )
    learning_rate: float = setting(2e-3, "Of Adam, falling to 0.", above=0)
    low: float = setting(0.1, "Least noise that the energy is of.", above=0)
    high: float = setting(
        20.0,
        "Largest noise that the energy is of: about the distance between two pictures, "
        "in all pixels together.",
        above=0,
    )
    compositions: tuple = setting(
        COMPOSITIONS, "What to draw: two, three, one, best_of, or, not, cross."
    )
    samples: int = setting(198, "Samples of each composition.", low=9)
    weight: float = setting(1.5, "Of each label in a composition.", above=0)
    against: float = setting(1.0, "Weight of the label that is unwanted.", above=0)
    levels: int = setting(25, "Levels of noise of a chain.", low=2)
    steps_per_level: int = setting(2, "Langevin steps at each.", low=0)
    step_share: float = setting(
        0.1, "Length of a step, in variances of the noise.", above=0, below=1
    )
    judge_steps: int = setting(
        2_000, "Updates of the classifier that judges shapes.", low=1
    )
    joint: bool = setting(
        False, "Also trains a network of all labels at once, for comparison."
    )
    seed: int = setting(0, "Of pictures, weights and noise.", **SEED)
    output: str = setting("", "Folder of results.json, picture.png and model.keras.")
    preset: str = setting("", "Values of other flags by a name.")
    dry_run: bool = setting(
        False, "Builds the energy, takes one step, and writes nothing."
    )

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.compositions if name not in COMPOSITIONS]
        if unknown or not self.compositions:
            raise ValueError(
                f"`compositions` must be of {listed(COMPOSITIONS)}. Received: "
                f"compositions={','.join(self.compositions)!r}."
            )
