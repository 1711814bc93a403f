"""Few labels: a csv file of which ten rows a class have one.

Wines of three growers as a table: thirty of 178 rows keep their label, two cells in a
hundred are empty, and a word stands among the numbers. `EnergyClassifier` learns from
all rows, and what it makes of the rows without a label is compared with an SVM on the
same ten labels a class. Half a minute.

    python examples/few_labels.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.impute import SimpleImputer
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from keras_ebm import plots
from keras_ebm.estimators import EnergyClassifier


def write_csv(path: Path) -> np.ndarray:
    """Writes the table; returns the labels that it hides, too."""
    rng = np.random.default_rng(0)
    wine = load_wine(as_frame=True)
    table, y = wine.data, wine.target.to_numpy()
    table = table.mask(rng.random(table.shape) < 0.02)
    table["colour"] = np.where(table["color_intensity"] > 5, "deep", "pale")
    truth = np.array(["Aldo", "Bea", "Ciro"])[y]
    kept = [rng.permutation(np.flatnonzero(y == k))[:10] for k in range(3)]
    table["grower"] = pd.Series(truth).where(np.isin(np.arange(len(y)), kept))
    table.to_csv(path, index=False)
    return truth


def main(output: str = "gallery", steps: int = 1200) -> dict[str, float]:
    Path(output).mkdir(parents=True, exist_ok=True)
    path = Path(output) / "wines.csv"
    truth = write_csv(path)

    table = pd.read_csv(path)
    x, grower = table.drop(columns="grower"), table["grower"]
    classifier = EnergyClassifier(steps=steps, random_state=0).fit(x, grower)
    guessed = classifier.predict(x)

    numbers, known = x.drop(columns="colour"), grower.notna()
    svm = make_pipeline(SimpleImputer(), StandardScaler(), SVC())
    svm.fit(numbers[known], grower[known])

    hidden = ~known.to_numpy()
    found = {"EnergyClassifier": guessed[hidden], "SVM": svm.predict(numbers[hidden])}
    figures = {name: float(np.mean(y == truth[hidden])) for name, y in found.items()}
    print(f"{known.sum()} labels, {hidden.sum()} rows without one")
    for name, accuracy in figures.items():
        print(f"accuracy on these, {name}: {accuracy:.1%}")
    draw(Path(output) / "few_labels.png", truth[hidden], found)
    return figures


def draw(path: Path, truth: np.ndarray, found: dict) -> None:
    names = np.unique(truth)
    figure, axes = plots.pyplot().subplots(1, 2, figsize=(6.7, 3), layout="constrained")
    for axis, (title, labels) in zip(axes, found.items(), strict=True):
        table = confusion_matrix(truth, labels)
        axis.imshow(table, cmap="Blues")
        for i, j in np.ndindex(table.shape):
            dark = "white" if table[i, j] > table.max() / 2 else "black"
            axis.text(j, i, table[i, j], ha="center", va="center", color=dark)
        axis.set(title=title, xlabel="answered", ylabel="true grower")
        axis.set(xticks=range(3), xticklabels=names, yticks=range(3), yticklabels=names)
    plots.save(figure, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
