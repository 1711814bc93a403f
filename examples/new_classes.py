"""Classes that come one after another, and are not forgotten.

Digits come in five tasks of two classes each, and no row of a former task is kept. A
classifier that is trained on forgets; densities of each class do not, as no class takes
part in another's training. The nearest class mean and streaming discriminant analysis,
both free, stand beside them. Half a minute.

    python examples/new_classes.py [FOLDER]
"""

import sys
from pathlib import Path

import keras

import keras_ebm as ebm
from keras_ebm import continual, plots


def classifier(learning_rate: float = 1e-3) -> keras.Model:
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def main(output: str = "gallery", epochs: int = 10) -> dict[str, float]:
    keras.utils.set_random_seed(0)
    data = ebm.data.load("digits")
    rows = ebm.data.make_splits(data, seed=0)
    x, y = data.x[rows.train], data.y[rows.train]
    test = data.x[rows.test], data.y[rows.test]
    learners = {
        "a mixture a class": continual.DensityLearner(5, ridge=0.1),
        "nearest class mean": continual.NearestMean(),
        "streaming LDA": continual.StreamingLDA(),
        "a classifier, trained on": continual.KerasLearner(
            classifier(), epochs=epochs, batch_size=32
        ),
    }
    results = {
        name: continual.run_stream(
            learner, continual.class_stream(x, y, classes_per_task=2), test
        )
        for name, learner in learners.items()
    }
    for name, result in results.items():
        print(f"{name}: {result.final:.1%} of all ten classes, ", end="")
        print(f"{result.bytes_per_class / 1000:.1f} kB a class")
    seen = {name: [result.seen] for name, result in results.items()}
    tasks = [" and ".join(map(str, task)) for task in result.tasks]
    figure = plots.draw_streams(seen, tasks)
    plots.save(figure, Path(output) / "new_classes.png")
    return {name: result.final for name, result in results.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
