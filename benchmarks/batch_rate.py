r"""False refusals among those of a batch, by Benjamini and Hochberg and by threshold.

Scores are Gaussian; those of foreign rows lie three standard deviations higher. Every
batch has 200 rows and calibration rows drawn anew. It takes a second; run from the
top of the checkout:

    python -m benchmarks.batch_rate --output=benchmarks/results/batch_rate.json
"""

import dataclasses

import numpy as np

from benchmarks.machine import machine
from keras_ebm.ood import benjamini_hochberg
from keras_ebm.trainers.program import json_files, options, running

RATE, BATCH, SHIFT = 0.1, 200, 3.0
ROWS, FOREIGN = (200, 1_000, 10_000), (0, 4, 20, 60)


def p_values(random, rows: int, foreign: int) -> np.ndarray:
    """Conformal p-values of a batch whose first rows are foreign."""
    calibration = np.sort(random.standard_normal(rows))
    scores = random.standard_normal(BATCH)
    scores[:foreign] += SHIFT
    above = rows - np.searchsorted(calibration, scores, side="left")
    return (above + 1) / (rows + 1)


def shares(refused: np.ndarray, foreign: int) -> tuple[float, float]:
    """Share of false refusals, 0 if there are none, and of foreign rows refused."""
    false = refused[foreign:].sum() / max(refused.sum(), 1)
    return float(false), float(refused[:foreign].mean()) if foreign else 0.0


def measure(rows: int, foreign: int, batches: int, seed: int = 0) -> dict:
    """Means over batches, and their standard errors."""
    random = np.random.default_rng([seed, rows, foreign])
    found = {"benjamini_hochberg": [], "threshold": []}
    for _ in range(batches):
        p = p_values(random, rows, foreign)
        found["benjamini_hochberg"].append(shares(benjamini_hochberg(p, RATE), foreign))
        found["threshold"].append(shares(p <= RATE, foreign))
    return {
        name: {
            "false_share": float(np.mean(values, axis=0)[0]),
            "standard_error": float(np.std(values, axis=0)[0] / np.sqrt(batches)),
            "foreign_refused": float(np.mean(values, axis=0)[1]),
        }
        for name, values in found.items()
    }


@dataclasses.dataclass(frozen=True)
class BatchRateSettings:
    """Flags of the benchmark."""

    output: str = options.setting("", "JSON file to write.")
    batches: int = options.setting(2_000, "Batches of each kind.", low=1)


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BatchRateSettings)
    output = options.require("output")
    runs = {
        f"{rows} rows, {foreign} foreign of {BATCH}": measure(
            rows, foreign, settings.batches
        )
        for rows in ROWS
        for foreign in FOREIGN
    }
    json_files.write_json(
        output,
        {
            "machine": machine(),
            "rate": RATE,
            "batches": settings.batches,
            "shift": SHIFT,
            "runs": runs,
        },
    )
    print("| batches | false by BH, % | foreign refused | false by p <= 0.1 | found |")
    print("|---" * 5 + "|")
    for name, run in runs.items():
        of, plain = run["benjamini_hochberg"], run["threshold"]
        cells = [
            f"{100 * of['false_share']:.1f} ± {100 * of['standard_error']:.1f}",
            f"{100 * of['foreign_refused']:.0f}",
            f"{100 * plain['false_share']:.1f}",
            f"{100 * plain['foreign_refused']:.0f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    options.define_flags(BatchRateSettings)
    running.run_program(main)
