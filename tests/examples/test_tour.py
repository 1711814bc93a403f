"""The notebook runs from top to bottom, in a process of its own."""

import os
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

import keras_ebm

TOUR = Path(__file__).parents[2] / "examples" / "tour.ipynb"
MOST_CELLS = 25


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(TOUR, as_version=4)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of the interpreter that runs the tests, known in this test alone."""
    write_kernel_spec(str(tmp_path / "kernels" / "tour"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    # It imports the package that is tested, from wherever that is.
    package = str(Path(keras_ebm.__file__).parents[1])
    path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return "tour"


def test_the_notebook_is_short_and_kept_without_outputs(notebook):
    assert len(notebook.cells) <= MOST_CELLS
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_notebook_runs_and_shows_what_is_refused_and_why(
    notebook, kernel, tmp_path
):
    place = {"metadata": {"path": tmp_path}}
    client = NotebookClient(notebook, kernel_name=kernel, timeout=240, resources=place)
    client.execute()

    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert ": unlike the training rows" in printed and ": accepted" in printed
    assert "a similar wine that passes was found: True" in printed
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
    assert "".join(o.text for o in outputs if o.get("name") == "stderr") == ""
