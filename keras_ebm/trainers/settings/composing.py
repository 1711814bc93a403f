"""Settings of what is composed: the pictures, the energy, and how it is sampled."""

import dataclasses

from keras_ebm.arguments import listed
from keras_ebm.trainers.program.options import SEED, Checked, setting

#: dSprites of the second paper: an energy a factor, by chains.
PRESETS = {
    "igebm_dsprites": {
        "dataset": "dsprites",  # [C]
        "side": 64,  # [C]
        "rows": 200_000,  # [?]; all 737,280 in the code [C]
        "filters": ("64", "128", "128", "128"),  # [C] but for the first layer's 32
        "batch_size": 256,  # [C] default
        "learning_rate": 3e-4,  # [C]
        "energy_l2": 1.0,  # [C]
        "classification_weight": 0.0,  # [C]
        "num_steps": 20,  # [C]
        "step_size": 500.0,  # [C]
        "noise_stddev": 0.005,  # [C]
        "max_gradient": 1e6,  # [C] none
        "buffer_size": 10_000,  # [C]
        "restart_share": 0.05,  # [C]
        "walk_steps": 400,  # [C] 20 rounds of 20
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
        "steps": "Energies",
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
    steps: int = setting(800, "Updates of each energy.", low=1)
    rounds: int = setting(
        8,
        "Parts of the training. That is kept whose samples showed their labels most "
        "often.",
        low=1,
    )
    batch_size: int = setting(48, "Pictures of an update.", low=2)
    filters: tuple = setting(
        ("16", "32", "64"), "Channels of the energy's strided convolutions."
    )
    learning_rate: float = setting(3e-4, "Of Adam.", above=0)
    classification_weight: float = setting(
        1.0, "Weight of the cross-entropy, which keeps labels apart.", low=0
    )
    energy_l2: float = setting(0.3, "Weight that holds energies near 0.", low=0)
    num_steps: int = setting(20, "Langevin steps of a chain in each update.", low=1)
    step_size: float = setting(
        10.0, "Of these steps, in squared units of a pixel from 0 to 1.", above=0
    )
    noise_stddev: float = setting(0.005, "Noise of these steps.", low=0)
    max_gradient: float = setting(
        0.03, "Bound of the gradient of each energy in a pixel.", above=0
    )
    buffer_size: int = setting(5_000, "Chains that the buffer holds.", low=1)
    restart_share: float = setting(
        0.1, "Share of the chains that start anew in each update.", low=0, high=1
    )
    compositions: tuple = setting(
        COMPOSITIONS, "What to draw: two, three, one, best_of, or, not, cross."
    )
    samples: int = setting(198, "Samples of each composition.", low=9)
    walk_steps: int = setting(100, "Langevin steps of a sample.", low=1)
    judge_steps: int = setting(
        4_000, "Updates of the classifier that judges shapes.", low=1
    )
    joint: bool = setting(
        False, "Also trains a network of all labels at once, for comparison."
    )
    seed: int = setting(0, "Of pictures, weights and noise.", **SEED)
    output: str = setting("", "Folder of results.json, picture.png and the models.")
    preset: str = setting("", "Values of other flags by a name.")
    dry_run: bool = setting(
        False, "Builds the energies, takes one step, and writes nothing."
    )

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.compositions if name not in COMPOSITIONS]
        if unknown or not self.compositions:
            raise ValueError(
                f"`compositions` must be of {listed(COMPOSITIONS)}. Received: "
                f"compositions={','.join(self.compositions)!r}."
            )
