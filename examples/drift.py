"""Drift: an export is watched, an alarm is raised, and thresholds are set anew.

A scorer of a table is exported and asked about a stream of rows. After 600 of them an
instrument begins to read a quarter too high. The monitor sees p-values alone; its alarm
would be false with probability .01, however long one looks. 200 known rows of the new
kind then give the export other thresholds as its next version, with the same weights.
A quarter of a minute.

    python examples/drift.py [FOLDER]
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_ebm as ebm
from keras_ebm import plots
from keras_ebm.estimators import EnergyOutlierDetector

CHANGE = 600


def readings(count: int, seed: int, gain: float = 1.0) -> np.ndarray:
    """Four instruments that read mixtures of two things, and a little noise."""
    rng = np.random.default_rng(seed)
    things = 2 + rng.normal(size=(count, 2))
    x = things @ [[1, 1, 0, 0.5], [0, 1, 1, -0.5]] + 0.3 * rng.normal(size=(count, 4))
    x[:, 1] *= gain
    return x.astype("float32")


def main(output: str = "gallery", count: int = 1000) -> dict:
    train = readings(2 * count, seed=0)
    detector = EnergyOutlierDetector(0.05, random_state=0).fit(train).detector_
    folder = Path(output) / "served" / "watched"
    path = ebm.serving.export_ood_scorer(detector, folder, train[:100])
    loaded = tf.saved_model.load(path)
    served = loaded.signatures["serving_default"]
    card = json.loads((path / "assets.extra" / "keras_ebm.json").read_text())

    monitor = ebm.serving.DriftMonitor.for_card(card, level=0.01)
    stream = np.concatenate([readings(CHANGE, 1), readings(CHANGE, 2, gain=1.25)])
    for start in range(0, len(stream), 100):
        answers = served(inputs=tf.constant(stream[start : start + 100]))
        monitor.update(answers["p_value"].numpy(), answers["accept"].numpy())
    print(f"alarm at answer {monitor.alarm_at}; the change was after {CHANGE}")

    known = {"inputs": readings(200, 3, gain=1.25)}
    version, _ = ebm.serving.recalibrate(loaded, card, known, folder)
    anew = tf.saved_model.load(version).signatures["serving_default"]
    test = tf.constant(readings(1000, 4, gain=1.25))
    figures = {"alarm_at": monitor.alarm_at}
    for name, ask in {"before": served, "after": anew}.items():
        refused = float(np.mean(~ask(inputs=test)["accept"].numpy()))
        figures[name] = refused
        print(f"refused of the new kind {name} recalibration: {refused:.1%}")
    figure = plots.draw_drift(
        monitor.history(), monitor.level, alarm_at=monitor.alarm_at, expected=0.05
    )
    for axis in figure.axes:
        axis.axvline(CHANGE, color="0.3", ls="--", label="the instrument changes")
        axis.legend(loc="center left")
    plots.save(figure, Path(output) / "drift.png")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
