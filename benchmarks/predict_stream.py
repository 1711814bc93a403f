r"""Rows a second and memory of `export.predict` on a table of a million rows.

A classifier of a made-up table (six columns of numbers, one with gaps, and three of
words) is exported untrained: neither rate depends on the weights. Beside the program
stands the SavedModel's signature alone, asked in a process of its own with 1,024 rows
that are in memory as tensors. Both are measured in turn, by the clock and by the
seconds of all processors, which other work on the machine changes less; what the
program takes for one batch, most of it the start of TensorFlow, is subtracted. The
program is then killed half way and goes on, and its file compared with that of the
unbroken run. All of that for a csv and for a Parquet file of the same rows. Run from
the top of the checkout:

    python -m benchmarks.predict_stream \
        --output=benchmarks/results/predict_stream.json

What is in the file already is not repeated.
"""

import dataclasses
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import tensorflow as tf

from benchmarks.machine import machine
from keras_ebm import EnergyModel, networks
from keras_ebm.data import CsvRows, read_csv
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import Detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.program import json_files, options, running

TRAINING_ROWS, CLASSES, BATCH = 2000, 3, 1024
SOURCES = ("csv", "parquet")
WORDS = {
    "city": ("Basel", "Bern", "Graz", "Linz", "Oslo", "Paris", "Rom", "Wien"),
    "job": ("baker", "clerk", "nurse", "smith"),
    "member": ("no", "yes"),
}


def write_table(path: Path, count: int, seed: int) -> None:
    """Writes a made-up table, of which a tenth of one column is missing."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(6, count)).round(4).astype(str)
    cells[0] = np.where(rng.random(count) < 0.1, "", cells[0])
    names = [f"x{index}" for index in range(len(cells))]
    words = [rng.choice(vocabulary, count) for vocabulary in WORDS.values()]
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join([*names, *WORDS]) + "\n")
        file.writelines(
            ",".join(row) + "\n" for row in zip(*cells, *words, strict=True)
        )


def export(folder: Path) -> Path:
    """An untrained classifier with the thresholds of its own table."""
    keras.utils.set_random_seed(0)
    write_table(folder / "training.csv", TRAINING_ROWS, 0)
    dataset = read_csv(folder / "training.csv", target="")
    encoder = TableEncoder(dataset.schema)
    encoder.adapt(dataset.x)
    width = encoder(dataset.x[:2]).shape[-1]
    network = networks.mlp_energy((width,), CLASSES)
    model = EnergyModel(network, preprocessor=encoder)
    detector = Detector.fit(model, dataset.x, target_fpr=0.05)
    return export_classifier(detector, folder / "served", dataset.x)


def bare(version: str, table: str, queue) -> None:
    """Puts rows a second, and a second of a processor, into a queue."""
    loaded = tf.saved_model.load(version)
    signature = loaded.signatures["serving_default"]
    _, specs = signature.structured_input_signature
    dtypes = {
        name: None if spec.dtype == tf.string else np.dtype(spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }
    rows = CsvRows(table, dtypes, every=65536)
    columns = rows.read(0, min(65536, rows.num_rows))
    count = len(next(iter(columns.values()))) // BATCH
    batches = [
        {
            name: tf.constant(v[i * BATCH : (i + 1) * BATCH])
            for name, v in columns.items()
        }
        for i in range(count)
    ]
    signature(**batches[0])
    repeats = -(-rows.num_rows // (count * BATCH))
    begin, before = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        for batch in batches:
            signature(**batch)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - before
    asked = repeats * count * BATCH
    queue.put((asked / seconds, asked / cpu))


def bare_rate(version: Path, table: Path) -> tuple[float, float]:
    """Rows a second, and a processor's, of the signature alone in its own process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=bare, args=(str(version), str(table), queue))
    process.start()
    rate = queue.get()
    process.join()
    return rate


def command(version: Path, table: Path, output: Path, *more: str) -> list[str]:
    """The program that answers a table, of the kind that its name ends with."""
    spec = f"{table.suffix[1:]}:{table}"
    flags = f"--model={version}", f"--dataset={spec}", f"--output={output}"
    return [sys.executable, "-m", "export.predict", *flags, *more]


def timed(arguments: list[str]) -> dict:
    """Seconds of a program, those of its processors, and its mebibytes at most."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    memory = 0
    while process.poll() is None:
        # What the system counts at the end has the parent's memory in it.
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = [line for line in status.splitlines() if line.startswith("VmHWM")]
        memory = max([memory, *(int(line.split()[1]) for line in found)])
        time.sleep(0.02)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "processor_seconds": cpu, "mebibytes": memory / 1024}


def kill_half_way(arguments: list[str], record: Path, count: int) -> int:
    """Kills a program once half of the rows are kept; how many there are."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows = 0
    while rows < count // 2 and process.poll() is None:
        time.sleep(0.01)
        rows = json.loads(record.read_bytes())["rows"] if record.exists() else 0
    process.kill()
    process.wait()
    return json.loads(record.read_bytes())["rows"]


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """Flags of the benchmark."""

    rows: int = options.setting(1_000_000, "Rows of the table.")
    repeats: int = options.setting(3, "Runs of each.")
    output: str = options.setting("", "JSON file to write.")


def in_a_file(csv: Path, source: str) -> Path:
    """The rows of a csv in a file of a source."""
    if source == "parquet":
        convert = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
        table = pyarrow.csv.read_csv(csv, convert_options=convert)
        pyarrow.parquet.write_table(table, csv.with_suffix(".parquet"))
    return csv.with_suffix(f".{source}")


def measure(settings: StreamSettings, source: str, folder: Path) -> dict:
    """What the benchmark is about, of rows in a file of a source."""
    version, all_csv, few_csv = export(folder), folder / "rows.csv", folder / "few.csv"
    write_table(few_csv, BATCH, 1)
    write_table(all_csv, settings.rows, 1)
    few, table = (in_a_file(path, source) for path in (few_csv, all_csv))
    output, again = folder / "answers.csv", folder / "again.csv"
    runs = []
    for _ in range(settings.repeats):
        few_rows = timed(command(version, few, folder / "few_answers.csv"))
        all_rows = timed(command(version, table, output))
        bare_wall, bare_cpu = bare_rate(version, all_csv)
        net = {name: all_rows[name] - few_rows[name] for name in all_rows}
        runs.append(
            {
                **all_rows,
                **{f"{name}_of_{BATCH}_rows": few_rows[name] for name in few_rows},
                "rows_a_second": settings.rows / net["seconds"],
                "rows_a_processor_second": settings.rows / net["processor_seconds"],
                "bare_rows_a_second": bare_wall,
                "bare_rows_a_processor_second": bare_cpu,
            }
        )
        print(runs[-1], flush=True)
    flags = command(version, table, again)
    kept = kill_half_way(flags, folder / "again.csv.part.json", settings.rows)
    timed([*flags, "--resume"])
    return {
        "rows": settings.rows,
        "runs": runs,
        "rows_kept_at_the_kill": kept,
        "same_file_after_the_kill": output.read_bytes() == again.read_bytes(),
    }


def share(runs: list[dict], name: str) -> float:
    """Median of a rate as a share of that of the signature alone."""
    return float(np.median([run[name] / run[f"bare_{name}"] for run in runs]))


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(StreamSettings)
    path = Path(settings.output) if settings.output else None
    results = json_files.read_json(path) if path and path.is_file() else {}
    for source in SOURCES:
        if source not in results:
            with tempfile.TemporaryDirectory() as folder:
                results[source] = summary(measure(settings, source, Path(folder)))
        if path:
            json_files.write_json(path, results)
    for source, found in results.items():
        print(source)
        told = {k: v for k, v in found.items() if isinstance(v, int | float)}
        json_files.print_metrics(found["medians"] | told)


def summary(found: dict) -> dict:
    """Runs with their medians, and the rates beside those of the signature alone."""
    runs = found["runs"]
    medians = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    return found | {
        "medians": medians,
        "share_of_bare": share(runs, "rows_a_second"),
        "share_of_bare_by_processor": share(runs, "rows_a_processor_second"),
        "aim": 0.8,
        "machine": machine(),
    }


if __name__ == "__main__":
    options.define_flags(StreamSettings)
    running.run_program(main)
