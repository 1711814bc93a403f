"""Files are whole or as they were, whatever happens while they are written."""

import contextlib
import os
import stat
import sys

import h5py
import keras
import numpy as np
import pytest
from disks import disk

from keras_ebm import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_error_while_writing_leaves_the_former_file(tmp_path):
    path = tmp_path / "kept.txt"
    files.write_text(path, "former\n")
    with pytest.raises(KeyboardInterrupt), files.written_beside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "former\n" and names(tmp_path) == ["kept.txt"]


def test_bytes_are_synced_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    order = []

    def sync(descriptor, real=os.fsync):
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        order.append("folder" if place == str(tmp_path) else "file")
        real(descriptor)

    def replace(*args, real=os.replace):
        order.append("name")
        real(*args)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    files.write_bytes(tmp_path / "file", b"bytes")
    assert order == ["file", "name", "folder"]


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_any_new_file(tmp_path):
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    old.touch()
    old.chmod(0o640)
    other.write_text("")
    files.write_text(old, "text")
    files.write_text(new, "text")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (old, new, other)]
    assert modes[0] == 0o640 and modes[1] == modes[2]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("former")
    link.symlink_to(target)
    files.write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    device = os.stat(os.devnull)
    files.write_text(os.devnull, "text")
    assert os.stat(os.devnull).st_ino == device.st_ino
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        files.write_text("/dev/full", "text")


def test_what_killed_processes_left_goes_and_what_is_being_written_stays(tmp_path):
    (tmp_path / f"{files.UNFINISHED}dead").touch()
    (tmp_path / f"{files.UNFINISHED}dead-folder" / "1").mkdir(parents=True)
    (tmp_path / ".hidden").touch()
    with files.staging_folder(tmp_path) as folder:
        with files.written_beside(tmp_path / "one") as file:
            files.write_text(tmp_path / "other", "text")
            file.write(b"text")
        assert names(tmp_path) == sorted([folder.name, ".hidden", "one", "other"])
    assert names(tmp_path) == [".hidden", "one", "other"]


def test_a_full_disk_is_an_error_that_names_the_file_and_loses_nothing(tmp_path):
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(200)])
    writers = {
        "model.keras": files.save_model,
        "model.weights.h5": files.save_weights,
        "text": lambda text, path: files.write_text(path, str(text) * 9000),
    }
    with disk(tmp_path / "disk", "100k") as folder:
        for name, write in writers.items():
            path = folder / name
            path.write_bytes(b"former")
            with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
                write(model, path)
            assert path.read_bytes() == b"former"
        assert names(folder) == sorted(writers)


def test_a_model_and_its_weights_come_back(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    files.save_model(model, tmp_path / "model.keras")
    files.save_weights(model, tmp_path / "one.weights.h5", value=2.5)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    loaded.layers[0].kernel.assign(np.zeros((2, 3)))
    loaded.load_weights(tmp_path / "one.weights.h5")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    with h5py.File(tmp_path / "one.weights.h5") as file:
        assert dict(file.attrs) == {"value": 2.5}


class Interrupted(BaseException):
    """What a signal raises."""


def interrupt_after(count):
    """Raises at the `count`-th return of a C function, where Python looks for signals.

    Returns:
        A function that tells whether there were so many.
    """
    left = [count]

    def profile(frame, event, _):
        if event == "c_return" and frame.f_code.co_filename == files.__file__:
            left[0] -= 1
            if left[0] == 0:
                sys.setprofile(None)
                raise Interrupted

    sys.setprofile(profile)
    return lambda: left[0] <= 0


def stage(folder):
    with files.staging_folder(folder) as staging:
        (staging / "part").write_text("x")


@pytest.mark.parametrize(
    "work", [stage, lambda folder: files.write_text(folder / "kept", "new")]
)
def test_a_signal_at_any_moment_leaves_nothing_unfinished(work, tmp_path):
    interrupted = 0
    while True:
        (tmp_path / "kept").write_text("old")
        happened = interrupt_after(interrupted + 1)
        try:
            with contextlib.suppress(Interrupted):
                work(tmp_path)
        finally:
            sys.setprofile(None)
        assert {path.name for path in tmp_path.iterdir()} == {"kept"}
        assert (tmp_path / "kept").read_text() in ("old", "new")
        if not happened():
            break
        interrupted += 1
    assert interrupted > 2
