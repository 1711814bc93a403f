"""Tiny files of the form in which three tables are downloaded by hand."""

import gzip

import numpy as np

#: Features of the tiny files that are discrete, so that the drop rule takes them.
HEPMASS_DISCRETE, HUMAN_DISCRETE = (3, 20), (0, 100, 560)


def manual_folder(data_dir):
    folder = data_dir / "downloads" / "manual"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_hepmass(folder, rows=40, test_rows=12, seed=0):
    """`(train, test)` as written, without header: a label and 27 features.

    The test file is packed, and has the spurious last column.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for count in (rows, test_rows):
        values = rng.normal(size=(count, 28)).astype(np.float32)
        values[:, 0] = np.arange(count) % 2
        values[:, [1 + column for column in HEPMASS_DISCRETE]] = values[:, :1]
        # The largest value may recur, and the smallest up to 5 times.
        values[:10, 6] = 9.0
        values[:5, 7] = -9.0
        parts.append(values)
    names = "# label," + ",".join(f"f{number}" for number in range(27))
    save(folder / "1000_train.csv", parts[0], names)
    spurious = np.concatenate([parts[1], np.full((test_rows, 1), 7.0)], axis=1)
    save(folder / "1000_test.csv.gz", spurious, names + ",mass")
    return parts


def write_human(folder, rows=30, test_rows=10, seed=0):
    """`{"train": (x, y), "test": (x, y)}` as written, labels from 1."""
    rng = np.random.default_rng(seed)
    parts = {}
    for part, count in (("train", rows), ("test", test_rows)):
        x = rng.uniform(-1, 1, (count, 561)).astype(np.float32)
        x[:, HUMAN_DISCRETE] = -1.0
        y = 1 + np.arange(count) % 6
        below = folder / "UCI HAR Dataset" / part
        below.mkdir(parents=True, exist_ok=True)
        np.savetxt(below / f"X_{part}.txt", x, fmt="% .9e", delimiter=" ")
        np.savetxt(below / f"y_{part}.txt", y, fmt="%d")
        parts[part] = x, y
    return parts


def write_crop(folder, rows=60, seed=0):
    """Rows as written: a label from 1, which the features follow, and 174 of them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 175)).astype(np.float32)
    values[:, 0] = 1 + np.arange(rows) % 7
    values[:, 1:] += values[:, :1]
    names = "label," + ",".join(f"f{number}" for number in range(1, 175))
    save(folder / "WinnipegDataset.txt", values, names)
    return values


def save(path, values, header):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        np.savetxt(file, values, "%.9g", ",", header=header, comments="")
