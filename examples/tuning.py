"""Tuning: keras-tuner searches the settings of a joint energy model.

A `HyperModel` builds a VERA classifier of digits; what is sought is its accuracy on
validation rows, and the test rows are looked at once. It needs the extra `tune`. A
minute.

    python examples/tuning.py [FOLDER]
"""

import sys
from pathlib import Path

import keras
import keras_tuner

import keras_ebm as ebm
from keras_ebm import plots

WIDTHS, WEIGHTS, RATES = [32, 64, 128, 256], (0.01, 1.0), (1e-4, 1e-2)
SPACE = [("width", "choice", WIDTHS), ("energy_weight", "log", WEIGHTS)]
SPACE += [("learning_rate", "log", RATES)]


class Classifier(keras_tuner.HyperModel):
    """Widths, step size, and how much the energy counts beside the classes."""

    def build(self, hp: keras_tuner.HyperParameters) -> ebm.VERA:
        width = hp.Choice("width", WIDTHS)
        model = ebm.VERA(
            ebm.networks.mlp_energy((8, 8, 1), 10, hidden=(width, width)),
            ebm.GaussianGenerator(ebm.networks.mlp_decoder(16, (8, 8, 1))),
            preprocessor=keras.layers.Rescaling(1 / 127.5, offset=-1),
            objective="logistic",
            energy_weight=hp.Float("energy_weight", *WEIGHTS, sampling="log"),
        )
        rate = hp.Float("learning_rate", *RATES, sampling="log")
        model.compile(keras.optimizers.Adam(rate), keras.optimizers.Adam(rate / 2))
        return model


def main(output: str = "gallery", trials: int = 6, epochs: int = 5) -> dict:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)
    parts = (rows.train, rows.validation, rows.test)
    train, validation, test = ((data.x[part], data.y[part]) for part in parts)
    tuner = keras_tuner.RandomSearch(
        Classifier(),
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=trials,
        seed=0,
        directory=output,
        project_name="tuning",
        overwrite=True,
    )
    tuner.search(
        *train, epochs=epochs, batch_size=64, validation_data=validation, verbose=0
    )
    done = tuner.oracle.get_best_trials(trials)
    best = tuner.get_best_models(1)[0]
    accuracy = best.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
    scores = [trial.score for trial in done]
    print(f"validation accuracy: {min(scores):.1%} to {max(scores):.1%}")
    for name, value in done[0].hyperparameters.values.items():
        print(f"best {name}: {value:.3g}")
    print(f"accuracy of the best on test digits: {accuracy:.1%}")

    tried = [trial.hyperparameters.values for trial in done]
    axes = [
        plots.ParallelAxis(name, [values[name] for values in tried], kind, ends)
        for name, kind, ends in SPACE
    ]
    figure = plots.parallel_coordinates(axes, scores, "validation accuracy")
    plots.save(figure, Path(output) / "tuning.png")
    return {"trials": len(done), "accuracy": accuracy}


if __name__ == "__main__":
    main(*sys.argv[1:])
