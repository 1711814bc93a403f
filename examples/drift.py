"""Drift: an export is watched, an alarm is raised, and thresholds are set anew.

A scorer of a table is exported and asked about a stream of rows. After 600 of them an
instrument begins to read half a standard deviation high. The monitor sees p-values
alone and raises its alarm, which would be false with probability .01 however long one
looks. A hundred rows of the new kind then give the export other thresholds, as its next
version, with the same weights. A quarter of a minute.

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
from keras_ebm.serving.recalibrating import recalibrate


def rows(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Six readings that go together, the first two of one instrument."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 6)).round(1) * 0
    mix = np.random.default_rng(99).normal(size=(2, 6))
    x = rng.normal(size=(count, 2)) @ mix + 0.3 * rng.normal(size=(count, 6))
    x[:, :2] += shift
    return x


def main(output: str = "gallery") -> dict[str, float]:
    detector = EnergyOutlierDetector(0.05, random_state=0).fit(rows(2000, 0)).detector_
    folder = Path(output) / "served" / "watched"
    path = ebm.serving.export_ood_scorer(detector, folder, rows(100, 1))
    return path, detector


if __name__ == "__main__":
    main(*sys.argv[1:])
