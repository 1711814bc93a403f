r"""Makes a run folder of a trained network, or trains a head on a pretrained body.

Run it as:

    keras-ebm adopt --network=net.keras --dataset=npz:rows.npz \
        --workdir=runs/adopted
    keras-ebm adopt --backbone=body.keras --dataset=tfds:cifar10 \
        --data_dir=DIR --workdir=runs/head

The folder is that of any run: `keras-ebm evaluate`, the exporters and `keras-ebm
train-vera --init` take its model.keras. With --backbone the flags are those of
`keras-ebm train-vera`, whose defaults are then those of a plain head.
"""

import dataclasses
from pathlib import Path

from absl import app

from keras_ebm import EnergyModel, files
from keras_ebm.data import split_digest
from keras_ebm.trainers.program import errors, folders, json_files, options, running
from keras_ebm.trainers.program.imports import ImportSettings
from keras_ebm.trainers.report.measures import measure
from keras_ebm.trainers.run import backup, jobs, recipes, training
from keras_ebm.trainers.run.record import write_record
from keras_ebm.trainers.settings import clashes
from keras_ebm.trainers.settings.adoption import (
    AdoptSettings,
    build_adopted,
    fresh_splits,
)
from keras_ebm.trainers.settings.data import DataSettings, RunData, joined, read_rows

#: What a head on a frozen body is trained by, where nothing else is asked for.
HEAD = {
    "negatives": "none",
    "epochs": 12,
    "batch_size": 128,
    "learning_rate": 5e-4,
    "dropout": 0.8,
    "hidden": ("1024",),
    "weight_decay": 1e-2,
    "tensorboard": False,
}


@dataclasses.dataclass(frozen=True)
class Adoption:
    """A network that is measured and saved as it is."""

    run: RunData
    model: EnergyModel
    settings: AdoptSettings

    is_chief = True
    is_done = False
    folders = ()

    @property
    def workdir(self) -> Path:
        return Path(self.settings.workdir)

    def perform(self) -> tuple[EnergyModel, dict]:
        """Saves and measures.

        Returns:
            `(model, metrics)`: the model and the measures that `metrics.json` holds.
        """
        if self.settings.fit_temperature and jobs.enough_labels(self.run):
            self.model.fit_temperature(*self.run.rows("validation"))
        # Marks the folder as unfinished until all of it is there.
        backup.begin(self.workdir)
        self.model.trained_on = split_digest(self.run.splits)
        files.save_model(self.model, self.workdir / folders.MODEL_FILE)
        write_record(self.run, self.workdir)
        metrics = measure(self.model, self.run)
        json_files.write_json(self.workdir / backup.METRICS_FILE, metrics)
        backup.clear_all(self.workdir)
        return self.model, metrics


def prepare(data_settings: DataSettings, settings: AdoptSettings) -> Adoption:
    """Loads rows and network; writes nothing.

    Raises:
        ValueError: if the network does not serve, or does not take such rows.
    """
    full = read_rows(data_settings)
    splits = fresh_splits(
        full,
        settings.fresh,
        data_settings.seed,
        data_settings.holdout_classes,
        data_settings.train_size or None,
    )
    run = joined(full, splits, data_settings)
    return Adoption(run, build_adopted(run.dataset, settings), settings)


def _adopt(argv) -> None:
    del argv
    _take_data()
    for name in ("network", "dataset"):
        options.require(name)
    clashes.check(clashes.DATA)
    folders.require_folder("workdir")
    folders.check_workdir(options.FLAGS.dataset)
    with errors.usage_errors():
        job = prepare(
            options.from_flags(DataSettings), options.from_flags(AdoptSettings)
        )
    jobs.run_job("adopt", job)


def _take_data() -> None:
    """Makes a dataset of `--data`."""
    if not options.FLAGS.data:
        return
    if options.FLAGS.dataset:
        raise app.UsageError(
            "--data stands in the place of --dataset. Received: "
            f"--data={options.FLAGS.data} and --dataset={options.FLAGS.dataset}; leave "
            "one of them out."
        )
    options.FLAGS.dataset = f"python:{options.FLAGS.data}"
    # So that `flags.txt` has one of the two.
    options.FLAGS.data = ""


def main() -> None:
    """Adopts a network, or hands a backbone over to the trainer of heads."""
    heads = []

    def define(argv):
        if options.peek(argv, "backbone")["backbone"]:
            heads.append(True)
            return training.define(recipes.VERA, HEAD)
        for settings_class in (DataSettings, AdoptSettings, ImportSettings):
            options.define_flags(settings_class)
        return {}

    def run(argv):
        return training.train(recipes.VERA) if heads else _adopt(argv)

    running.run_program(run, define)


if __name__ == "__main__":
    main()
