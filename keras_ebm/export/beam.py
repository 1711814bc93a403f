r"""Answers rows in the workers of Apache Beam.

The rows are cut into chunks, as in one process; a worker reads a chunk, `RunInference`
asks the export, and the answers become a file of their own. Each step depends on the
number of the chunk alone, so that a chunk that a lost worker had is done again by
another with the same result. The files get their names when all are there. Until then
they stand in a folder beside the output, from which a run that failed can go on.

Beam's handlers of TensorFlow models stack rows into one tensor and load models by
`tf.keras`, which cannot read the SavedModels of exports. So there is a handler of its
own: it calls a signature with the columns of a chunk, in the batches of
`export.answering`, which makes the answers those of one process to the letter.
"""

import json
import os
import re
import shlex
import uuid
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from keras_ebm.export.answering import answer_rows, columns_of, lines_of
from keras_ebm.export.part import Done, check_same
from keras_ebm.export.rows import Rows

#: What the folder of files that are not all there is called, beside the output.
UNFINISHED = ".shards"
#: What is in it beside the files: what the run was begun as, and of each what it holds.
RECORD, COUNTS = "begun.json", ".json"


class ExportHandler(ModelHandler):
    """Asks a signature of an export, a chunk at a time.

    Args:
        version: folder of the SavedModel, which all workers can read.
        name: of the signature.
        rows: `Rows` that the chunks are of.
        rate: share of known inputs that may be refused; 0 for that of the export.
    """

    def __init__(self, version: str, name: str, rows: Rows, rate: float):
        super().__init__(min_batch_size=1, max_batch_size=1)
        self.version, self.name, self.rows, self.rate = version, name, rows, rate

    def load_model(self):
        """The SavedModel."""
        return tf.saved_model.load(self.version)

    def run_inference(self, batch, model, inference_args=None):
        """Yields `(index, part, answers)` of each chunk `(index, part)`."""
        signature = model.signatures[self.name]
        for index, part in batch:
            answers = {}
            if len(next(iter(part.request.values()))):
                answers = answer_rows(signature, self.rows, part.request, self.rate)
            yield index, part._replace(request={}), answers


class ReadChunk(beam.DoFn):
    """Reads the chunk of a number."""

    def __init__(self, rows: Rows):
        self.rows = rows

    def process(self, index: int):
        """Yields `(index, part)`."""
        rows, start = self.rows, index * self.rows.chunk
        yield index, rows.read(start, min(start + rows.chunk, rows.num_rows))


class WriteChunk(beam.DoFn):
    """Writes the answers to a chunk as a file, in one step.

    Args:
        folder: for the files, which all workers can write to.
    """

    def __init__(self, folder: str):
        self.folder = folder

    def process(self, element):
        """Yields the index of the chunk when its file is there."""
        index, part, answers = element
        text = lines_of(columns_of(answers, part.files), True) if answers else ""
        accept = [bool(one) for one in answers.get("accept", ())]
        counts = {
            "rows": len(accept),
            "refused": len(accept) - sum(accept),
            "broken": part.broken,
        }
        # The answers come last: where they are, all of the chunk is.
        put(self.folder, f"{index}{COUNTS}", json.dumps(counts))
        put(self.folder, f"{index}", text)
        yield index


def put(folder: str, name: str, text: str) -> None:
    """Writes a file that is whole or not there.

    Two workers may have one chunk, if one of them was taken for lost.
    """
    own = FileSystems.join(folder, f"{name}-{uuid.uuid4().hex}")
    write_file(own, text)
    place = FileSystems.join(folder, name)
    if FileSystems.exists(place):
        FileSystems.delete([place])
    FileSystems.rename([own], [place])


def write_file(path: str, text: str) -> None:
    """Writes a file of any of Beam's file systems."""
    with FileSystems.create(path, "application/octet-stream", "uncompressed") as file:
        file.write(text.encode("utf-8"))


def read_file(*path: str) -> dict:
    """The JSON of a file of any of Beam's file systems."""
    with FileSystems.open(FileSystems.join(*path)) as file:
        return json.loads(file.read())


def shard_name(output: str, index: int, count: int) -> str:
    """The name of a file of answers: `answers-00000-of-00004.csv`."""
    path = Path(output)
    return str(path.with_name(f"{path.stem}-{index:05d}-of-{count:05d}{path.suffix}"))


def answer_far(settings, version: Path, name: str, rows: Rows, begun: dict) -> Done:
    """Answers all rows in workers, and writes a file for each chunk.

    Args:
        settings: `keras_ebm.export.predict.PredictSettings`.
        version: folder of the export.
        name: of its signature.
        rows: of a file or folder that all workers can read.
        begun: all that answers depend on, see `keras_ebm.export.part`.

    Returns:
        `Done`.

    Raises:
        ValueError: if the rows are of another source, the options are none of Beam's,
            what is to be gone on with is of something else, or the pipeline failed. No
            file of before is changed then, and the chunks that are done are kept.
    """
    if not rows.is_far:
        raise ValueError(
            "`dataset` must be csv:PATH, parquet:PATH, tfrecord:PATH or images:DIR "
            f"with --runner, which workers read by their paths. Received: {rows.spec}."
        )
    count = -(-rows.num_rows // rows.chunk)
    output = os.path.realpath(settings.output)
    folder = output + UNFINISHED
    left = open_folder(folder, count, begun, settings.resume)
    handler = ExportHandler(str(version.resolve()), name, rows, settings.target_fpr)
    if left:
        run_pipeline(settings, rows, left, handler, folder)
    counts = [read_file(folder, f"{index}{COUNTS}") for index in range(count)]
    done = Done(
        rows.num_rows,
        sum(one["rows"] for one in counts),
        sum(one["refused"] for one in counts),
        [name for one in counts for name in one["broken"]],
    )
    rows.finish(done.broken, done.rows)
    replace(folder, [shard_name(output, index, count) for index in range(count)])
    FileSystems.delete([folder])
    return done


def open_folder(folder: str, count: int, begun: dict, resume: bool) -> list[int]:
    """The folder for the files of chunks, and which of these are to be written."""
    record = FileSystems.join(folder, RECORD)
    if resume and FileSystems.exists(record):
        check_same(read_file(record), begun)
        names = (FileSystems.join(folder, str(index)) for index in range(count))
        return [i for i, name in enumerate(names) if not FileSystems.exists(name)]
    if FileSystems.exists(folder):
        found = FileSystems.match([FileSystems.join(folder, "*")])[0].metadata_list
        if found and not FileSystems.exists(record):
            raise ValueError(
                "`output` must leave room beside it for the files of chunks. Received: "
                f"{folder}, a folder of something else; choose another path."
            )
        FileSystems.delete([folder])
    FileSystems.mkdirs(folder)
    put(folder, RECORD, json.dumps(begun))
    return list(range(count))


def run_pipeline(settings, rows: Rows, left: list, handler, folder: str) -> None:
    """Writes the answers to the chunks that are left into a folder."""
    pipeline = pipeline_of(settings)
    _ = (
        pipeline
        | beam.Create(left)
        | beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadChunk(rows))
        | "Answer" >> RunInference(handler)
        | "Write" >> beam.ParDo(WriteChunk(folder))
    )
    try:
        state = pipeline.run().wait_until_finish()
    except Exception as error:
        # Of a worker's error the last lines say what it was.
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[-1][:500]
        raise ValueError(
            f"`runner` must come to an end. Received: {settings.runner}, which failed: "
            f"{reason}. The chunks that are done are kept; --resume goes on."
        ) from error
    if state != PipelineState.DONE:
        raise ValueError(
            f"`runner` must come to an end. Received: {settings.runner}, which ended "
            f"as {state}; --resume goes on."
        )


def pipeline_of(settings) -> beam.Pipeline:
    """A pipeline of the runner and the options.

    Raises:
        ValueError: if Beam knows no such runner.
    """
    given = shlex.split(settings.pipeline_options)
    options = PipelineOptions([f"--runner={settings.runner}", *given])
    return beam.Pipeline(options=options)


def replace(folder: str, names: list[str]) -> None:
    """Gives the files of a folder their names, in the place of those of before."""
    pattern = re.sub(r"-\d+-of-\d+(?=(\.[^.]*)?$)", "-*-of-*", names[0])
    for found in FileSystems.match([pattern])[0].metadata_list:
        if re.fullmatch(r".*-\d{5,}-of-\d{5,}(\.[^.]*)?", found.path):
            FileSystems.delete([found.path])
    parts = [FileSystems.join(folder, str(index)) for index in range(len(names))]
    FileSystems.rename(parts, names)
