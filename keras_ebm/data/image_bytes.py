"""Images from their bytes, in TensorFlow operations that a SavedModel can hold."""

import tensorflow as tf

#: Grey, colour, and colour with alpha.
CHANNELS = (1, 3, 4)
#: Images of more pixels (4096 by 4096) are not decoded in a batch.
MAX_PIXELS = 2**24
#: Scans of a JPEG (usually 1 or 10) or texts of a PNG: each takes as long as an image,
#: for a few bytes.
MAX_PARTS = 32
#: Why a row of a batch was not decoded; empty for one that was.
DECODED, NOT_AN_IMAGE = "", "not an image"
TOO_LARGE = f"image too large: more than {MAX_PIXELS} pixels"
TOO_MANY_PARTS = f"an image of more than {MAX_PARTS} scans or texts"
NO_SUCH_KIND = "a kind of image that is not read: use PNG or JPEG"
# ITU-R BT.601, what "grey" means to most image software.
LUMA = (0.299, 0.587, 0.114)

#: First bytes of each kind that is read, in the order of the branches below.
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
#: Offset and bytes of kinds that are known and not read: TIFF, WebP, HEIC and AVIF,
#: JPEG XL.
OTHERS = (
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"RIFF"),
    (4, b"ftyp"),
    (0, b"\xff\x0a"),
    (4, b"JXL "),
)
# Extensions of a GIF before its first frame; real files have a handful.
_MAX_EXTENSIONS = 1000


def decode_image(content: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes PNG, JPEG, GIF or BMP bytes, in grey or colour.

    Colours beneath transparent pixels are kept and alpha is dropped; of 16 bits a
    channel the upper 8 are kept; of an animation the first frame, black where it does
    not cover the canvas; CMYK becomes RGB; a turn in the EXIF data is not made. BMP is
    read with 8 (with its palette), 24 and 32 bits a pixel, without compression. A JPEG
    that has its end but wrong bytes within is decoded as far as it goes.

    Args:
        content: string tensor `()`.
        channels: int, 1, 3, or 4 to keep the alpha of a PNG (255 where there is none).

    Returns:
        uint8 tensor `(height, width, channels)`.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no whole image of these kinds.
    """
    kind = _kind(content)
    branches = [
        lambda: tf.io.decode_png(content, channels),
        lambda: _decode_jpeg(content, channels),
        lambda: _fit_channels(_decode_gif(content), channels),
        lambda: _fit_channels(_decode_bmp(content), channels),
        # Which raises.
        lambda: tf.io.decode_png(tf.strings.substr(content, 0, 8), channels),
    ]
    image = tf.switch_case(kind, branches)
    return tf.ensure_shape(image, (None, None, channels))


def decode_rows(
    encoded: tf.Tensor, shape: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes what can be decoded of a batch, row by row and in parallel.

    Sizes are read from the headers first: an image of more than `MAX_PIXELS`, or of
    more than `MAX_PARTS` scans or texts, is not decoded.

    Args:
        encoded: string tensor `(batch,)`; see `decode_image`.
        shape: `(height, width, channels)` that images are brought to.

    Returns:
        uint8 tensor `(batch, height, width, channels)`, zero for rows that were not
        decoded, and a string tensor `(batch,)`: why not, or empty.
    """

    def read(position, content):
        reason = _refusal(content)
        image = tf.cond(
            reason == DECODED,
            lambda: resized(decode_image(content, shape[2]), shape),
            lambda: tf.zeros(shape, tf.uint8),
        )
        return position, image, reason

    # One row more, as a data set that is left empty has no batch.
    contents = tf.concat([encoded, [""]], axis=0)
    count = tf.size(contents)
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    # Operations that raise cannot be caught in a graph; a data set can leave out the
    # elements that raise.
    rows = rows.map(read, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    rows = rows.batch(tf.cast(count, tf.int64))
    positions, images, reasons = rows.get_single_element()
    places = positions[:, None]
    images = tf.scatter_nd(places, images, [count, *shape])
    failed = tf.fill([count], NOT_AN_IMAGE)
    reasons = tf.tensor_scatter_nd_update(failed, places, reasons)
    return tf.ensure_shape(images[:-1], (None, *shape)), reasons[:-1]


def resized(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """A uint8 image of `(height, width, channels)`, resized with antialiasing."""
    image = tf.image.resize(image, shape[:2], antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def _kind(content):
    """Position in `SIGNATURES`, or one past the last."""
    kind = tf.constant(len(SIGNATURES))
    for position, signature in enumerate(SIGNATURES):
        start = tf.strings.substr(content, 0, len(signature))
        kind = tf.where(start == signature, position, kind)
    return kind


def _refusal(content):
    """Why bytes should not be decoded, by their header alone; empty if they may be."""
    branches = [
        lambda: _refuse(_png_size(content), _count(content, b"zTXt", b"iTXt")),
        lambda: _refuse(
            tf.image.extract_jpeg_shape(content)[:2], _count(content, b"\xff\xda")
        ),
        lambda: _refuse(_gif_size(content)),
        lambda: _refuse_bmp(content),
        lambda: tf.where(_is_other_kind(content), NO_SUCH_KIND, NOT_AN_IMAGE),
    ]
    return tf.switch_case(_kind(content), branches)


def _refuse(size, parts=0):
    pixels = tf.reduce_prod(tf.cast(size, tf.float64))
    reason = tf.where(parts > MAX_PARTS, TOO_MANY_PARTS, DECODED)
    return tf.where(pixels > MAX_PIXELS, TOO_LARGE, reason)


def _refuse_bmp(content):
    # A negative height is that of a picture whose top row is first.
    size = [tf.abs(_number(content, start, 4, signed=True)) for start in (18, 22)]
    return tf.where(_is_plain_bmp(content), _refuse(size), NO_SUCH_KIND)


def _is_other_kind(content):
    found = [
        tf.strings.substr(tf.strings.join([content, " " * 8]), start, len(text)) == text
        for start, text in OTHERS
    ]
    return tf.reduce_any(found)


def _bytes(content):
    return tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int64)


def _cut(content, start, length):
    return tf.strings.substr(
        content, tf.cast(start, tf.int64), tf.cast(length, tf.int64)
    )


def _count(content, *patterns):
    """How often patterns of one length occur in a string."""
    data = tf.io.decode_raw(content, tf.uint8)
    last = tf.size(data) - len(patterns[0]) + 1
    total = 0
    for pattern in patterns:
        found = tf.fill([last], True)
        for offset, byte in enumerate(pattern):
            found &= data[offset : last + offset] == byte
        total += tf.math.count_nonzero(found)
    return total


def _number(content, start, size, signed=False, big=False):
    """An integer of a header, int64 `()`."""
    values = _bytes(_cut(content, start, size))
    values = tf.ensure_shape(values, (size,))
    powers = [256**power for power in range(size)]
    value = tf.reduce_sum(
        values * tf.constant(powers[::-1] if big else powers, tf.int64)
    )
    limit = 256**size
    return tf.where(value >= limit // 2, value - limit, value) if signed else value


def _png_size(content):
    return [_number(content, start, 4, big=True) for start in (16, 20)]


def _decode_jpeg(content, channels):
    # libjpeg makes grey of colour and of nothing else, and never alpha.
    is_cmyk = tf.image.extract_jpeg_shape(content)[2] == 4

    def decode(depth):
        image = tf.io.decode_image(content, depth, expand_animations=False)
        return _fit_channels(tf.ensure_shape(image, (None, None, depth)), channels)

    if channels != 1:
        return decode(3)
    return tf.cond(is_cmyk, lambda: decode(3), lambda: decode(1))


def _decode_gif(content):
    frame, _ = _first_frame(content)
    image = tf.io.decode_image(frame, 3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _gif_size(content):
    """The larger of the canvas and the first frame."""
    canvas = [_number(content, start, 2) for start in (6, 8)]
    _, frame = _first_frame(content)
    return tf.maximum(canvas, frame)


def _first_frame(content):
    """A GIF of the first frame alone, and that frame's size.

    Every frame would be decoded otherwise. Its extensions are left out: they name
    one colour transparent, beneath which there would be black.
    """
    data = tf.concat([_bytes(content), [0]], axis=0)
    ends = _chain_ends(data)
    start = 13 + _table_size(data[10])
    _, position = tf.while_loop(
        lambda count, at: (data[at] == 0x21) & (count < _MAX_EXTENSIONS),
        lambda count, at: (count + 1, ends[at + 2] + 1),
        [tf.constant(0), start],
    )
    pixels = position + 11 + _table_size(data[position + 9])
    header = _cut(content, 0, start)
    length = ends[pixels] + 1 - position
    body = _cut(content, position, length)
    frame = tf.where(data[position] == 0x2C, header + body + ";", "")
    return frame, [_number(content, position + start, 2) for start in (5, 7)]


def _table_size(flags):
    """Bytes of a GIF's table of colours."""
    size = 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8)
    return tf.where(flags >= 128, size, 0)


def _chain_ends(data):
    """For each place in a GIF, where a chain of blocks that began there ends.

    A block is its length and so many bytes; one of length 0 ends the chain. Each
    round follows twice as many blocks at once.
    """
    count = tf.size(data, out_type=tf.int64)
    places = tf.range(count)
    following = tf.minimum(places + 1 + data, count - 1)
    following = tf.where(data == 0, places, following)
    _, ends = tf.while_loop(
        lambda before, after: tf.reduce_any(before != after),
        lambda before, after: (after, tf.gather(after, after)),
        [places - 1, following],
    )
    return ends


def _is_plain_bmp(content):
    """Whether a BMP has 8, 24 or 32 bits a pixel, uncompressed, in the usual order."""
    has_header = _number(content, 14, 4) >= 40
    depth, compression = _number(content, 28, 2), _number(content, 30, 4)
    masks = _cut(content, 54, 12)
    is_usual = masks == b"\x00\x00\xff\x00\x00\xff\x00\x00\xff\x00\x00\x00"
    is_plain = (compression == 0) & tf.reduce_any(depth == [8, 24, 32])
    return has_header & (is_plain | ((compression == 3) & (depth == 32) & is_usual))


def _decode_bmp(content):
    def grey():
        used = _number(content, 46, 4)
        count = tf.where(used == 0, tf.constant(256, tf.int64), used)
        start = 14 + _number(content, 14, 4)
        colours = tf.io.decode_raw(_cut(content, start, 4 * count), tf.uint8)
        indices = tf.cast(tf.io.decode_bmp(content, 0)[..., 0], tf.int32)
        # Blue is first.
        return tf.gather(tf.reshape(colours, (-1, 4))[:, 2::-1], indices)

    def plain():
        return tf.io.decode_bmp(content, 0)[..., :3]

    checked = tf.debugging.Assert(_is_plain_bmp(content), ["an unusual BMP"])
    with tf.control_dependencies([checked]):
        depth = _number(content, 28, 2)
        image = tf.cond(depth == 8, grey, plain)
    return tf.ensure_shape(image, (None, None, 3))


def _fit_channels(image, channels):
    """Grey, colour, or colour with alpha, of an image that has not got them."""
    depth = image.shape[-1]
    if depth == channels:
        return image
    if channels == 4:
        opaque = tf.fill(tf.shape(image[..., :1]), tf.constant(255, tf.uint8))
        return tf.concat([image, opaque], axis=-1)
    grey = tf.reduce_sum(tf.cast(image, tf.float32) * LUMA, axis=-1, keepdims=True)
    return tf.cast(tf.round(grey), tf.uint8)
