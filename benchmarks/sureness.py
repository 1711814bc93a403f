r"""How sure a classifier from ten labels a class may sound, on six tables.

VERA's *fixed* runs of `benchmarks.tabular`: NLL, expected calibration error and Brier
score of test rows, of the softmax of the logits and of the probabilities after
`EnergyModel.fit_temperature` on the validation tenth. From the top of the checkout:

    python -m benchmarks.sureness --data_dir=DIR \
        --output=benchmarks/results/sureness.json

What is in the file already is not repeated.
"""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np

from benchmarks import tabular
from benchmarks.machine import machine
from keras_ebm.trainers.program import json_files, options, running
from keras_ebm.trainers.report.measures import classification_measures

MEASURES = {"nll": 1, "ece": 100, "brier": 1}


def measure(model, rows: tabular.Rows) -> dict:
    """Measures of test rows before and after, the temperature and the lapse rate."""
    x, y = rows.of("test")
    logits = np.asarray(model.logits(x))
    before = classification_measures(model, logits, y)
    temperature, lapse_rate = model.fit_temperature(*rows.of("validation"))
    after = classification_measures(model, logits, y)
    measures = {name: [before[name], after[name]] for name in MEASURES}
    return {"temperature": temperature, "lapse_rate": lapse_rate, **measures}


def table(results: dict) -> str:
    """Markdown of means ± standard deviations over seeds."""
    lines = [
        "| set | seeds | temperature | lapses, % | NLL | after "
        "| ECE, % | after | Brier | after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in tabular.SETS:
        found = [v for key, v in results.items() if key.rpartition("-")[0] == name]
        if not found:
            continue
        columns = [[run["temperature"] for run in found]]
        columns += [[100 * run["lapse_rate"] for run in found]]
        for measure, scale in MEASURES.items():
            columns += (scale * np.array([run[measure] for run in found])).T.tolist()
        cells = [f"{np.mean(c):.2f} ± {np.std(c):.2f}" for c in columns]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class SurenessSettings:
    """Flags of the benchmark."""

    data_dir: str = options.setting("", "Folder of NAME.csv.gz.")
    output: str = options.setting("", "JSON file to write and to continue.")
    seeds: int = options.setting(3, "Seeds of each run.")
    steps: int = options.setting(tabular.STEPS, "Steps of a run.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(SurenessSettings)
    output = options.require("output")
    saved = {"machine": machine(), "steps": settings.steps, "runs": {}}
    if os.path.exists(output):
        saved = json_files.read_json(output)
    for seed in range(settings.seeds):
        for name in tabular.SETS:
            if f"{name}-{seed}" in saved["runs"]:
                continue
            keras.backend.clear_session()
            rows = tabular.load(Path(settings.data_dir) / f"{name}.csv.gz", seed)
            labels = rows.few_labels()
            model, _ = tabular.fit(
                rows, labels, "vera", "quantile", seed, settings.steps
            )
            saved["runs"][f"{name}-{seed}"] = measure(model, rows)
            json_files.write_json(output, saved)
    print(table(saved["runs"]))


if __name__ == "__main__":
    options.define_flags(SurenessSettings)
    running.run_program(main)
