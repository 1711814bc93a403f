"""Answers that grow beside the file that they become, with a record to go on from."""

import contextlib
import csv
import dataclasses
import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from keras_ebm import files
from keras_ebm.trainers.program import json_files

#: What the names of a part and of its record end with.
PART, RECORD = ".part", ".part.json"
SHAPE = {
    "begun_as": dict,
    "bytes": int,
    "position": int,
    "rows": int,
    "refused": int,
    "broken": list,
}


REMEDY = "leave --resume out, to begin again"


@dataclasses.dataclass
class Done:
    """How far the answers are.

    Args:
        position: int, what of the source is answered.
        rows: int, how many answers there are.
        refused: int, how many of them are not accepted.
        broken: paths of files that were left out.
    """

    position: int = 0
    rows: int = 0
    refused: int = 0
    broken: list = dataclasses.field(default_factory=list)


class PartFile:
    """The answers so far, which take the place of the output in the end.

    They stand beside it as `OUTPUT.part`, and `OUTPUT.part.json` says how many bytes of
    them count. Both are on the disk before a chunk counts as done, so that a process
    that is killed, a full disk or a power cut loses one chunk at most. A device or a
    pipe is written to as it is.

    Args:
        output: path of the output.
        begun_as: dict of JSON, all that answers depend on, by what it is called.
        resume: bool, whether the part of a killed process is gone on with.
        column: None, or one more column that depends on all answers: it has a `name`,
            `study` takes a reader of all answers, and `cell` gives that of each.

    Raises:
        ValueError: if there is a part of something else, or a process that lives has
            it.
        OSError: if it cannot be written; it names the output.
    """

    def __init__(
        self,
        output: str | os.PathLike,
        begun_as: dict,
        resume: bool = False,
        column: Any = None,
    ):
        self.output, self.begun_as, self.column = Path(output), begun_as, column
        self.target = Path(os.path.realpath(output))
        self.done, self._file, self._header = Done(), None, True
        self.is_device = self.target.exists() and not self.target.is_file()
        if self.is_device and resume:
            raise ValueError(
                f"`resume` must have a file to go on with. Received: output={output}, "
                "which is none; leave --resume out."
            )
        self.path = self.target.with_name(self.target.name + PART)
        self.record = self.target.with_name(self.target.name + RECORD)
        if resume and self.path.exists() and self.record.exists():
            self._go_on()

    def add(self, text: Callable[[bool], str], done: Done) -> None:
        """Keeps the answers to a chunk.

        Args:
            text: gives the lines, with a header or not.
            done: how far the answers are then.
        """
        with self._naming():
            if self._file is None:
                self._create()
            content = text(self._header).encode("utf-8")
            self._file.write(content)
            self._file.flush()
            self._header = self._header and not content
            if not self.is_device:
                os.fsync(self._file.fileno())
                self._write_record(done)
        self.done = done

    def finish(self) -> None:
        """Puts the answers in the place of the output, with the column of all."""
        with self._naming(), self._file:
            if self.is_device:
                if self.column is not None:
                    with open(self.target, "wb") as output:
                        self._write_with_column(output)
                return
            if self.column is not None:
                with files.written_beside(self.target) as output:
                    self._write_with_column(output)
                self.path.unlink()
            else:
                self._take_mode()
                os.replace(self.path, self.target)
            self.record.unlink(missing_ok=True)
            files.sync(self.target.parent)

    def _take_mode(self) -> None:
        """Gives the part the permissions of the file that it replaces."""
        if self.target.is_file():
            mode = stat.S_IMODE(self.target.stat().st_mode)
            os.fchmod(self._file.fileno(), mode)
            os.fsync(self._file.fileno())

    def _write_with_column(self, output) -> None:
        part = io.TextIOWrapper(self._file, encoding="utf-8", newline="")
        part.seek(0)
        self.column.study(csv.DictReader(part))
        part.seek(0)
        text = io.TextIOWrapper(output, encoding="utf-8", newline="")
        reader, writer = csv.DictReader(part), csv.writer(text)
        writer.writerow([*(reader.fieldnames or ()), self.column.name])
        for row in reader:
            writer.writerow([*row.values(), self.column.cell(row)])
        text.flush()
        # They are closed by those who opened them.
        text.detach()
        part.detach()

    def leave(self, discard: bool) -> None:
        """Closes the part, and removes it where nothing can go on with it."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        if not self.is_device and (discard or not self.done.position):
            for path in (self.record, self.path):
                path.unlink(missing_ok=True)

    def _create(self) -> None:
        files.make_folder(self.target.parent)
        if self.is_device:
            plain = self.column is None
            self._file = open(self.target, "wb") if plain else TemporaryFile()
            return
        self._file = self._locked()
        # A record of before would count bytes that are gone.
        self.record.unlink(missing_ok=True)
        self._file.truncate(0)

    def _locked(self):
        """The part, which no other process has."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # Other errors are of file systems that know no locks.
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    os.close(descriptor)
                    raise ValueError(
                        "`output` must be written by one process at a time. Received: "
                        f"{self.output}, whose part another process is writing; wait "
                        "for it, or choose another path."
                    ) from error
            # Meanwhile another process may have made an output of it.
            if self.path.exists() and os.path.samestat(
                os.stat(self.path), os.fstat(descriptor)
            ):
                return open(descriptor, "r+b")
            os.close(descriptor)

    def _go_on(self) -> None:
        record = json_files.read_shaped(self.record, SHAPE, REMEDY)
        check_same(record["begun_as"], self.begun_as)
        if self.path.stat().st_size < record["bytes"]:
            raise ValueError(
                f"{self.path} must hold the {record['bytes']} bytes that were kept. "
                f"Received: a file that is shorter; {REMEDY}."
            )
        self._file = self._locked()
        # What follows belongs to a chunk that was not done.
        self._file.truncate(record["bytes"])
        self._file.seek(record["bytes"])
        self._header = record["bytes"] == 0
        names = [field.name for field in dataclasses.fields(Done)]
        self.done = Done(**{name: record[name] for name in names})

    def _write_record(self, done: Done) -> None:
        count = self._file.tell()
        record = {"begun_as": self.begun_as, "bytes": count, **dataclasses.asdict(done)}
        json_files.write_json(self.record, record)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Gives errors of the part and of its record the name of the output."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(self.output)) from error


def check_same(before: dict, now: dict) -> None:
    """Raises ValueError unless two runs answer the same rows in the same way.

    Args:
        before: all that the answers of the run before depend on, by its name.
        now: likewise.
    """
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old != new:
            raise ValueError(
                "`resume` must go on with what was begun. Received: another "
                f"{name} ({old} before and {new} now); restore it, or {REMEDY}."
            )
