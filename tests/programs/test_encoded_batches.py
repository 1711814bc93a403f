import concurrent.futures
import io
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data.image_bytes import MAX_PIXELS, NO_SUCH_KIND, NOT_AN_IMAGE, TOO_LARGE
from keras_ebm.export.common import ExportSettings, fit_detector
from keras_ebm.serving import export_classifier
from keras_ebm.trainers.run.record import recall

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def detector(digits_model):
    return fit_detector(ExportSettings(digits_model, "digits", target_fpr=0.05))[0]


@pytest.fixture(scope="module")
def rows(digits_model):
    return recall(digits_model).rows("test")[0][:8]


@pytest.fixture(scope="module")
def exports(detector, rows, tmp_path_factory):
    """Three exports written in threads, and all that was printed then."""
    folder = tmp_path_factory.mktemp("threads")

    def write(name):
        return export_classifier(detector, folder / name, rows)

    with pytest.MonkeyPatch.context() as patch:
        printed = io.StringIO()
        patch.setattr(sys, "stdout", printed)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            paths = list(pool.map(write, "abc"))
        print("still open")
        is_same = sys.stdout is printed
    return paths, is_same, printed.getvalue()


@pytest.fixture(scope="module")
def encoded(exports):
    loaded = tf.saved_model.load(str(exports[0][0]))

    def ask(contents):
        answers = loaded.signatures["encoded"](images=tf.constant(contents, tf.string))
        return {name: value.numpy() for name, value in answers.items()}

    return ask


def save(array, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def test_exports_in_threads_leave_standard_output_and_are_whole(exports, rows):
    paths, is_same, printed = exports
    assert is_same and printed == "still open\n"
    found = []
    for path in paths:
        loaded = tf.saved_model.load(str(path))
        answers = loaded.signatures["serving_default"](inputs=tf.constant(rows))
        found.append(answers["energy"].numpy())
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def broken(content):
    size = len(content)
    jpeg = save(np.zeros((8, 8), np.uint8), "JPEG")
    gif, bmp = (save(np.zeros((8, 8), np.uint8), form) for form in ("GIF", "BMP"))
    changed = bytearray(content)
    changed[size // 2] ^= 0xFF
    wide = content[:16] + (2**31 - 1).to_bytes(4, "big") + content[20:]
    tiff = save(np.zeros((8, 8), np.uint8), "TIFF")
    return {
        "empty": (b"", NOT_AN_IMAGE),
        "text": (b"not a picture", NOT_AN_IMAGE),
        "signature alone": (content[:8], NOT_AN_IMAGE),
        "half a header": (content[:20], NOT_AN_IMAGE),
        "half a PNG": (content[: size // 2], NOT_AN_IMAGE),
        "PNG without its end": (content[:-12], NOT_AN_IMAGE),
        "PNG with a wrong byte": (bytes(changed), NOT_AN_IMAGE),
        "half a JPEG": (jpeg[: len(jpeg) // 2], NOT_AN_IMAGE),
        "JPEG without its end": (jpeg[:-2], NOT_AN_IMAGE),
        "half a GIF": (gif[: len(gif) // 2], NOT_AN_IMAGE),
        "GIF signature": (b"GIF89a", NOT_AN_IMAGE),
        "half a BMP": (bmp[: len(bmp) // 2], NOT_AN_IMAGE),
        "BMP signature": (b"BM", NOT_AN_IMAGE),
        "TIFF": (tiff, NO_SUCH_KIND),
        "wide PNG": (wide, TOO_LARGE),
    }


def test_a_row_that_is_no_image_costs_its_neighbours_nothing(encoded, rows):
    contents = [save(row[..., 0]) for row in rows]
    alone = encoded(contents)
    cases = broken(contents[0])
    bad = [content for content, _ in cases.values()]
    answers = encoded([*contents[:3], *bad, *contents[3:]])
    last = 3 + len(bad)
    for name, values in answers.items():
        good = np.concatenate([values[:3], values[last:]])
        np.testing.assert_array_equal(good, alone[name])
    reasons = dict(zip(cases, answers["reason"][3:last].tolist(), strict=True))
    assert reasons == {name: reason.encode() for name, (_, reason) in cases.items()}
    refused = {name: values[3:last] for name, values in answers.items()}
    assert not refused["accept"].any()
    for name in ("energy", "ood_score"):
        assert (refused[name] == np.finfo(np.float32).max).all()
    assert not refused["p_value"].any() and not refused["probabilities"].any()
    assert (refused["class_id"] == -1).all() and (refused["label"] == b"").all()


def test_a_batch_may_be_of_no_row_that_can_be_read_or_of_no_rows(encoded):
    assert encoded([b"", b"x"])["reason"].tolist() == [NOT_AN_IMAGE.encode()] * 2
    assert {len(values) for values in encoded([]).values()} == {0}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_an_image_of_too_many_pixels_is_not_decoded(encoded, form):
    # One pixel in each column, or so, beyond the limit; the bytes are few.
    large = np.zeros((1024, MAX_PIXELS // 1024 + 1), np.uint8)
    content = save(large, form)
    small = save(np.full((8, 8), 9, np.uint8), form)
    answers = encoded([content, small])
    assert answers["reason"][0] == TOO_LARGE.encode()
    assert np.isfinite(answers["energy"][1])
