import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.data import image_bytes, read_images
from keras_ebm.data.image_bytes import decode_image

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 13, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (9, 13, 1), np.uint8)
SIXTEEN = RNG.integers(0, 2**16, (9, 13), np.uint16)
# Smooth, as JPEG is meant for.
SMOOTH = np.stack([np.add.outer(np.arange(24), 5 * np.arange(16))] * 3, -1) + [0, 60, 9]


def pictures():
    """Name to a Pillow image, its kind of file, and options of it."""
    colour, smooth = Image.fromarray(COLOUR), Image.fromarray(SMOOTH.astype(np.uint8))
    grey, palette = colour.convert("L"), colour.quantize(16)
    alpha = Image.fromarray(np.dstack([COLOUR, ALPHA]))
    frames = [colour.transpose(Image.Transpose.ROTATE_180).quantize(8)] * 2
    return {
        "PNG colour": (colour, "PNG", {}),
        "PNG grey": (grey, "PNG", {}),
        "PNG alpha": (alpha, "PNG", {}),
        "PNG grey and alpha": (alpha.convert("LA"), "PNG", {}),
        "PNG palette": (palette, "PNG", {}),
        "PNG transparent palette": (palette, "PNG", {"transparency": 3}),
        "PNG two colours": (grey.convert("1"), "PNG", {}),
        "JPEG colour": (smooth, "JPEG", {}),
        "JPEG grey": (smooth.convert("L"), "JPEG", {}),
        "JPEG progressive": (smooth, "JPEG", {"progressive": True}),
        "JPEG CMYK": (smooth.convert("CMYK"), "JPEG", {}),
        "GIF": (palette, "GIF", {}),
        "GIF grey": (grey, "GIF", {}),
        "GIF transparent": (palette, "GIF", {"transparency": 3}),
        "GIF of frames": (palette, "GIF", {"save_all": True, "append_images": frames}),
        "BMP colour": (colour, "BMP", {}),
        "BMP grey": (grey, "BMP", {}),
        "BMP palette": (palette, "BMP", {}),
        "BMP alpha": (alpha, "BMP", {}),
    }


PICTURES = pictures()


def save(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_every_kind_is_decoded_as_pillow_does(name, channels, mode):
    image, form, options = PICTURES[name]
    content = save(image, form, **options)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert(mode), np.int64)
    found = decode_image(tf.constant(content), channels).numpy()
    assert found.dtype == np.uint8
    # Grey of colour is rounded otherwise, and so are the steps of JPEG.
    limit = 4 if form == "JPEG" else int(channels == 1)
    difference = np.abs(found - expected.reshape(found.shape))
    assert difference.max() <= limit


def test_of_16_bits_the_upper_8_are_kept():
    content = save(Image.fromarray(SIXTEEN), "PNG")
    found = decode_image(tf.constant(content), 1)[..., 0]
    np.testing.assert_array_equal(found, SIXTEEN >> 8)


def test_the_alpha_of_a_png_is_kept_where_the_model_has_four_channels():
    four = np.dstack([COLOUR, ALPHA])
    found = decode_image(tf.constant(save(Image.fromarray(four), "PNG")), 4)
    np.testing.assert_array_equal(found, four)
    found = decode_image(tf.constant(save(Image.fromarray(COLOUR), "BMP")), 4)
    np.testing.assert_array_equal(found[..., :3], COLOUR)
    assert (found[..., 3].numpy() == 255).all()


def test_a_folder_is_read_by_the_same_rules(tmp_path):
    image, form, options = PICTURES["BMP palette"]
    (tmp_path / "a.bmp").write_bytes(save(image, form, **options))
    for shape in (None, (9, 13, 3)):
        found = read_images(tmp_path, shape)[0]
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


@pytest.fixture(scope="module")
def decode_rows():
    """`decode_rows` to `(6, 5, 3)`, traced once."""
    return tf.function(
        lambda encoded: image_bytes.decode_rows(encoded, (6, 5, 3)),
        input_signature=[tf.TensorSpec((None,), tf.string)],
    )


def reasons(decode_rows, contents):
    return [reason.decode() for reason in decode_rows(contents)[1].numpy()]


def test_a_batch_of_all_kinds_is_what_each_is_alone(decode_rows):
    contents = [save(image, form, **opts) for image, form, opts in PICTURES.values()]
    images, found = decode_rows(contents)
    assert set(found.numpy()) == {b""}
    for content, image in zip(contents, images, strict=True):
        alone = image_bytes.resized(decode_image(tf.constant(content), 3), (6, 5, 3))
        np.testing.assert_array_equal(image, alone)


def test_a_file_that_is_cut_anywhere_is_no_image(decode_rows):
    cuts = []
    for name in ("PNG palette", "JPEG progressive", "GIF", "BMP grey"):
        image, form, options = PICTURES[name]
        content = save(image, form, **options)
        # A GIF may lack its last two bytes.
        sizes = np.linspace(0, len(content) - 3, 12).astype(int)
        cuts += [content[:size] for size in sizes]
    images, found = decode_rows(cuts)
    known = {image_bytes.NOT_AN_IMAGE, image_bytes.NO_SUCH_KIND}
    assert {reason.decode() for reason in found.numpy()} <= known
    assert not images.numpy().any()


def test_kinds_that_are_not_read_are_named(decode_rows):
    two_colours = Image.fromarray(COLOUR).convert("1")
    contents = [
        save(Image.fromarray(COLOUR), "TIFF"),
        b"RIFF\x10\0\0\0WEBPVP8L",
        b"\0\0\0\x18ftypheic",
        save(two_colours, "BMP"),
    ]
    assert set(reasons(decode_rows, contents)) == {image_bytes.NO_SUCH_KIND}


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def test_what_takes_long_for_a_few_bytes_is_not_decoded(decode_rows):
    png = save(Image.fromarray(COLOUR), "PNG")
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1000)))
    jpeg = save(Image.fromarray(SMOOTH.astype(np.uint8)), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    contents = [
        png[:33] + 3 * text + png[33:],
        png[:33] + 40 * text + png[33:],
        jpeg[:-2] + 40 * scan + jpeg[-2:],
    ]
    slow = image_bytes.TOO_MANY_PARTS
    assert reasons(decode_rows, contents) == ["", slow, slow]


def test_a_gif_is_as_large_as_its_canvas_or_its_first_frame(decode_rows):
    gif = save(PICTURES["GIF"][0], "GIF")
    wide = struct.pack("<H", 2**16 - 1)
    canvas = gif[:6] + wide + wide + gif[10:]
    at = gif.index(b"\x2c\0\0\0\0")
    frame = gif[: at + 5] + wide + wide + gif[at + 9 :]
    assert reasons(decode_rows, [canvas, frame]) == [image_bytes.TOO_LARGE] * 2
