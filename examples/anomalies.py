"""Anomalies with reasons: which rows are strange, why, and what would pass.

Learns what benign tumours of a table look like, refuses about 5 % of such rows, and is
asked about malignant ones, which it never saw. For one of middling strangeness it tells
what each column adds to the energy, in nats, and the nearest row that would have been
accepted. It is about the model, and no advice about the world. Half a minute.

    python examples/anomalies.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

import keras_ebm as ebm
from keras_ebm import plots
from keras_ebm.estimators import EnergyOutlierDetector


def main(output: str = "gallery", steps: int = 1500) -> dict[str, float]:
    table = load_breast_cancer(as_frame=True)
    # The mean measures, without two that say once more what the radius says.
    x, benign = table.data.iloc[:, [0, 1, *range(4, 10)]], table.target.to_numpy() == 1
    known, foreign = x[benign].sample(frac=1, random_state=0), x[~benign]
    train, test = known[:300], known[300:]

    outliers = EnergyOutlierDetector(
        0.05, ood_score="energy", steps=steps, random_state=0
    ).fit(train)
    figures = {
        "refused of benign test rows": float(np.mean(outliers.predict(test) == -1)),
        "refused of malignant rows": float(np.mean(outliers.predict(foreign) == -1)),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.1%}")

    detector = outliers.detector_
    explainer = ebm.explain.Explainer.for_detector(detector, train.to_numpy())
    order = np.argsort(outliers.score_samples(foreign))
    row = foreign.iloc[[order[len(order) // 2]]]
    reasons = explainer.contributions(row.to_numpy())
    change = explainer.acceptable(row.to_numpy())
    figures["found"] = bool(change.found[0])
    figures["error"] = float(reasons.error[0])
    nats, passing = reasons.contributions[0].numpy(), change.rows[0].numpy()
    print(f"energy {reasons.energy[0]:.1f} nats, of a typical row ", end="")
    print(f"{reasons.baseline_energy[0]:.1f}; the most of it by ", end="")
    print(f"“{x.columns[int(nats.argmax())]}”")
    draw(Path(output) / "anomalies.png", row, nats, passing, train)
    return figures


def draw(path: Path, row, nats: np.ndarray, passing: np.ndarray, train) -> None:
    """Contributions by column; and the row and its change, in standard deviations."""
    figure, axes = plots.pyplot().subplots(
        1, 2, figsize=(6.7, 3.2), layout="constrained", sharey=True
    )
    names = [name.removeprefix("mean ") for name in row.columns]
    places = np.arange(len(names))
    axes[0].barh(places, nats, color=np.where(nats > 0, "tab:red", "tab:blue"))
    axes[0].set_yticks(places, names)
    axes[0].set(xlabel="adds to the energy, nats", title="why it is refused")
    mean, spread = train.mean().to_numpy(), train.std().to_numpy()
    before, after = (row.to_numpy()[0] - mean) / spread, (passing - mean) / spread
    axes[1].plot(before, places, "o", color="tab:red", label="as it is")
    axes[1].plot(after, places, "o", color="tab:green", label="would pass")
    axes[1].hlines(places, before, after, color="0.7", zorder=0)
    axes[1].set(xlabel="standard deviations from the mean", title="what would pass")
    figure.legend(loc="outside lower right", ncols=2)
    plots.save(figure, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
