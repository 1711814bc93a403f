r"""Trains an energy model against a generator (VERA), and what it compares to.

Run it as:

    keras-ebm train-vera --dataset=digits --workdir=runs/digits
    keras-ebm train-vera --dataset=csv:table.csv --workdir=runs/table
    keras-ebm train-vera --dataset=toy:rings --preset=vera_2d --workdir=runs/rings
    keras-ebm train-vera --preset=vera_cifar10 --dry_run

A table with few labels, by one of many methods:

    keras-ebm train-vera --dataset=csv:table.csv --labels_per_class=10 \
        --preset=tabular --method=vera+vat --workdir=runs/table

`--preset=vera_nice` is one of `keras-ebm train-likelihood`, and `--method=chains` one
of `keras-ebm train-langevin`, which then take over, with their flags.
"""

import keras

from keras_ebm.trainers.run import recipes, training
from keras_ebm.trainers.run.jobs import Job
from keras_ebm.trainers.run.transforms import Candidates
from keras_ebm.trainers.settings.data import RunData
from keras_ebm.trainers.settings.vera import ModelSettings

RECIPE = recipes.VERA
FitSettings = RECIPE.fit


def prepare(
    run: RunData, model_settings: ModelSettings, fit: FitSettings, strategy=None
) -> Job | Candidates:
    """Builds what `train` needs; see `transforms.prepare`."""
    return RECIPE.prepare(run, model_settings, fit, strategy)


def train(
    run: RunData, model_settings: ModelSettings, fit: FitSettings, strategy=None
) -> tuple[keras.Model, dict]:
    """Trains, saves and measures one model.

    Args:
        run: `RunData`, the split data.
        model_settings: `ModelSettings`.
        fit: `FitSettings`; `workdir` is created if absent.
        strategy: `tf.distribute` strategy or None.

    Returns:
        See `jobs.Job.perform`.

    Raises:
        ValueError: before training, if the settings do not fit the data.
        RuntimeError: if training diverged.
        KeyboardInterrupt: after saving the model, if training was interrupted.
    """
    return prepare(run, model_settings, fit, strategy).perform()


if __name__ == "__main__":
    training.run_program(RECIPE, recipes.CHAINS, recipes.DENSITY)
