"""Bad calls of each program, all in one process of its own."""

import io
import json
import zipfile

import numpy as np
import pytest
from bad_calls_table import calls, file_calls


def lying_array(shape):
    """The bytes of a `.npy` file that says more than it holds."""
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        memory, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return memory.getvalue() + b"1234"


@pytest.fixture(scope="session")
def bad(tmp_path_factory):
    """A folder of files that are none of their kind."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_text("no folder")
    (folder / "picture").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    (folder / "nested").write_text(f"--flagfile={folder}/absent\n")
    (folder / "prose").write_text("Once upon a time\n" * 999)
    (folder / "idle").write_text("--hmc_samples=3\n--toy_rows=9\n")
    (folder / "cut.keras").write_bytes(b"PK\x03\x04 and no more")
    for name, shape in (("lying", (1000, 3)), ("huge", (2**50, 3))):
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
            archive.writestr("x.npy", lying_array(shape))
    for name in ("bomb.npz", "bomb.keras"):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("x.npy", "w") as member:
                for _ in range(300):
                    member.write(bytes(2**20))
    (folder / "nul.csv").write_bytes(b"a,b\n1,\x00\n2,x\n")
    (folder / "gaps.csv").write_text("a,b\n" + ",x\n,y\n" * 20)
    (folder / "header.csv").write_text(",,\n" + "1,2,x\n2,3,y\n" * 20)
    for name, card in (
        ("list", "[]"),
        ("empty", "{}"),
        ("text", '{"target_fpr": "a", "per_class": false, "calibration_rows": 9}'),
        ("cut", '{"target_'),
        ("true", '{"target_fpr": 0.1, "per_class": false, "calibration_rows": true}'),
        ("alone", '{"target_fpr": 0.1, "per_class": false, "calibration_rows": 9}'),
    ):
        extra = folder / f"export_{name}" / "1" / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "keras_ebm.json").write_text(card)
    (folder / "export_foreign" / "1").mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def refused(run, bad):
    """What came of the bad calls of a program: `(flags, words, exit code, stderr)`.

    First those that are to be refused for a flag alone, then those for a file.
    """
    found = {}

    def refused_by(program):
        if program not in found:
            found[program] = _refusals(run, bad, program)
        return found[program]

    return refused_by


def _refusals(run, bad, program):
    table = [(False, *call) for call in calls(program, bad)]
    table += [(True, *call) for call in file_calls(program, bad)]
    path = bad / "calls.json"
    path.write_text(json.dumps([(begins, flags) for begins, flags, _ in table]))
    code, out, err = run("tests.bad_calls.calling", program, path)
    path.unlink()
    assert code == 0, err
    results = json.loads(out.splitlines()[-1])
    both = [
        (flags, words, *result)
        for (_, flags, words), result in zip(table, results, strict=True)
    ]
    count = sum(not begins for begins, *_ in table)
    return both[:count], both[count:]
