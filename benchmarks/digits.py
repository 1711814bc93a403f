r"""Accuracy and held-out false-alarm rate on scikit-learn's digits, three seeds.

VERA against the plain classifier of the same network on the same split, and
the false-alarm rate of the exported decision on the test split against its
conformal band. Run from the top of the checkout:

    python -m benchmarks.digits --output=benchmarks/results/digits.json
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from examples.demo import serve
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.ood import conformal_band
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.program import folders, json_files, options, running
from keras_ebm.trainers.settings import data
from keras_ebm.trainers.settings.vera import ModelSettings
from keras_ebm.trainers.vera import FitSettings, train

RATES = (0.02, 0.05, 0.1)


def run_one(seed: int, epochs: int) -> dict:
    """Trains both networks on one split, exports VERA's, and measures."""
    run = data.load(data.DataSettings(dataset="digits", seed=seed))
    x, _ = run.rows("test")
    results = {"num_train": len(run.splits.train), "num_test": len(x)}
    with tempfile.TemporaryDirectory() as folder:
        for name, negatives in (("plain", "none"), ("vera", "generator")):
            workdir = Path(folder) / name
            workdir.mkdir()
            fit = FitSettings(
                workdir=str(workdir), epochs=epochs, tensorboard=False, verbose=0
            )
            _, results[name] = train(run, ModelSettings(negatives=negatives), fit)
        for rate in RATES:
            settings = ExportSettings(
                model=str(Path(folder) / "vera" / folders.MODEL_FILE),
                calibration="digits",
                target_fpr=rate,
            )
            detector, calibration = fit_detector(settings)
            path = export_classifier(detector, Path(folder) / "served", calibration)
            band = conformal_band(rate, len(calibration), len(x))
            got = float(np.mean(~serve(path, x)["accept"]))
            results[f"false_alarms_{rate}"] = {
                "got": got,
                "band": list(band),
                "inside": band[0] <= got <= band[1],
            }
    return results


@dataclasses.dataclass(frozen=True)
class DigitsSettings:
    """Flags of the benchmark."""

    seeds: int = options.setting(3, "Seeds 0, 1, ...")
    epochs: int = options.setting(60, "Passes over the training rows.")
    output: str = options.setting("", "JSON file to write.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(DigitsSettings)
    runs = {str(s): run_one(s, settings.epochs) for s in range(settings.seeds)}
    results = {"machine": machine(), "runs": runs}
    for name in ("plain", "vera"):
        for measure in ("accuracy", "ece", "nll"):
            values = [run[name][measure] for run in runs.values()]
            print(f"{name} {measure}: {np.mean(values):.4f} +- {np.std(values):.4f}")
    for seed, run in runs.items():
        for rate in RATES:
            print(f"seed {seed}, asked {rate}:", run[f"false_alarms_{rate}"])
    if settings.output:
        json_files.write_json(settings.output, results)


if __name__ == "__main__":
    options.define_flags(DigitsSettings)
    running.run_program(main)
