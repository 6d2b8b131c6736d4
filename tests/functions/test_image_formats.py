"""The readers of BMP, PNM and PNG: pixels against Pillow's and against images packed here byte by byte, and hostile
headers, of which each must be refused by name."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import InputError
from acceleratorAPI.functions.images.frame import Buffers, Limits, UnpackError
from acceleratorAPI.functions.images.stream import frames

Array = Any
LIMITS = Limits(max_pixels=1 << 20)
# Where the red, green and blue of our channel names lie.
RGB = {"BGR": [2, 1, 0], "RGB": [0, 1, 2], "BGRX": [2, 1, 0], "RGBX": [0, 1, 2], "XBGR": [3, 2, 1], "XRGB": [1, 2, 3]}


def decoded(data: bytes, limits: Limits = LIMITS) -> list[Array]:
    """The images of a stream as rows x columns x RGB."""
    buffers = Buffers()
    images = []
    for frame in frames(Intake(io.BytesIO(data)), limits, buffers, "test"):
        pixels, channels = frame.unpack()
        assert pixels.shape[:2] == (frame.height, frame.width)
        images.append(pixels.repeat(3, 2) if channels == "GRAY" else pixels[:, :, RGB[channels]])
        buffers.give(frame)
    return images


def one(data: bytes) -> Array:
    (image,) = decoded(data)
    return image


def pillow(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def noise(height: int, width: int, channels: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def picture(mode: str, height: int, width: int, seed: int) -> Image.Image:
    """Noise in one of Pillow's modes."""
    if mode == "P":
        image = Image.fromarray(noise(height, width, 1, seed)[:, :, 0], "L").convert("P")
        image.putpalette(random.Random(seed).randbytes(768))
        return image
    if mode == "1":
        return Image.fromarray(noise(height, width, 1, seed)[:, :, 0] > 127)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    return Image.fromarray(
        noise(height, width, channels, seed).squeeze(2) if channels == 1 else noise(height, width, channels, seed)
    )


@settings(max_examples=1500, deadline=None)
@given(
    kind=st.sampled_from(
        [("BMP", "RGB"), ("BMP", "RGBA"), ("BMP", "L"), ("BMP", "P"), ("PPM", "RGB"), ("PPM", "L")]
        + [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    ),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 1 << 30),
)
def test_the_same_pixels_as_pillow(kind: tuple[str, str], height: int, width: int, seed: int) -> None:
    file = io.BytesIO()
    picture(kind[1], height, width, seed).save(file, kind[0])
    assert np.array_equal(one(file.getvalue()), pillow(file.getvalue()))


def bmp(
    pixels: Array,
    *,
    top_down: bool = False,
    header: int = 40,
    masks: tuple[int, int, int] | None = None,
    palette: bytes = b"",
    gap: int = 0,
    trailer: bytes = b"",
    **fields: int,
) -> bytes:
    """A BMP of rows x columns x bytes, as they are to stand in the file; ``fields`` put in any value."""
    height, width, size = pixels.shape
    stride = (width * size + 3) // 4 * 4
    rows = np.zeros((height, stride), np.uint8)
    rows[:, : width * size] = pixels.reshape(height, -1)
    body = (rows if top_down else rows[::-1]).tobytes()
    values = {
        "width": width,
        "height": -height if top_down else height,
        "planes": 1,
        "bits": 8 * size,
        "compression": 3 if masks else 0,
        "colours": len(palette) // 4 if header > 12 else 0,
        "header": header,
        **fields,
    }
    if header == 12:
        head = struct.pack("<IHHHH", *(values[name] for name in ("header", "width", "height", "planes", "bits")))
    else:
        names = ("header", "width", "height", "planes", "bits", "compression")
        head = struct.pack("<IiiHHI", *(values[name] for name in names))
        head += struct.pack("<IiiII", len(body), 2835, 2835, values["colours"], 0)
    if masks:
        head += struct.pack("<III", *masks)
    head = head.ljust(header, b"\0") + palette + bytes(gap)
    values.setdefault("offset", 14 + len(head))
    values.setdefault("file", 14 + len(head) + len(body) + len(trailer))
    return struct.pack("<2sI4xI", b"BM", values["file"], values["offset"]) + head + body + trailer


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", [40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 1), (3, 2), (5, 3), (64, 65), (301, 5)])
def test_bmp_headers(top_down: bool, header: int, size: int, height: int, width: int) -> None:
    pixels = noise(height, width, size)
    assert np.array_equal(one(bmp(pixels, top_down=top_down, header=header)), pixels[:, :, [2, 1, 0]])


def test_bmp_with_a_core_header() -> None:
    pixels = noise(7, 5, 3)
    data = bmp(pixels, header=12)
    assert np.array_equal(one(data), pixels[:, :, ::-1])
    assert np.array_equal(pillow(data), pixels[:, :, ::-1])
    colours = noise(256, 1, 3, 5)
    indexes = noise(7, 5, 1)
    data = bmp(indexes, header=12, palette=colours.tobytes())
    assert np.array_equal(one(data), colours[indexes[:, :, 0], 0][:, :, ::-1])


@pytest.mark.parametrize("header", [40, 56, 124])
@pytest.mark.parametrize(
    ("masks", "order"),
    [
        ((0xFF0000, 0xFF00, 0xFF), [2, 1, 0]),
        ((0xFF, 0xFF00, 0xFF0000), [0, 1, 2]),
        ((0xFF000000, 0xFF0000, 0xFF00), [3, 2, 1]),
        ((0xFF00, 0xFF0000, 0xFF000000), [1, 2, 3]),
    ],
)
def test_bmp_masks(header: int, masks: tuple[int, int, int], order: list[int]) -> None:
    pixels = noise(6, 5, 4)
    assert np.array_equal(one(bmp(pixels, header=header, masks=masks)), pixels[:, :, order])


def test_bmp_palettes() -> None:
    indexes = noise(9, 7, 1)
    colours = noise(256, 1, 4, 7)
    expected = colours[indexes[:, :, 0], 0][:, :, 2::-1]
    for data in (bmp(indexes, palette=colours.tobytes()), bmp(indexes, palette=colours.tobytes(), colours=0)):
        assert np.array_equal(one(data), expected)
        assert np.array_equal(pillow(data), expected)
    short = bmp(indexes % 32, palette=colours[:16].tobytes())
    expected = np.where(indexes % 32 < 16, colours[indexes[:, :, 0] % 32, 0][:, :, 2::-1], 0)
    assert np.array_equal(one(short), expected), "an index without a colour is black"


def test_bmp_gaps_trailers_and_sloppy_sizes() -> None:
    pixels = noise(4, 3, 3)
    odd = [bmp(pixels, gap=1000), bmp(pixels, trailer=b"profile" * 3000), bmp(pixels, file=0), bmp(pixels, file=60)]
    assert len(decoded(b"".join(odd))) == 4
    assert all(np.array_equal(image, pixels[:, :, ::-1]) for image in decoded(b"".join(odd)))
    assert len(decoded(bmp(pixels, file=5000))) == 1, "the input may end in what follows the pixels"


def pnm(magic: str, header: str, samples: bytes) -> bytes:
    return magic.encode() + header.encode() + samples


@pytest.mark.parametrize(
    "header",
    [
        "\n3 2\n255\n",
        " 3 2 255 ",
        "\t3\n2\r255\t",
        "# a comment\n3 2\n255\n",
        "\n#\n# two\n3 # in between\n2\n#x\n255\n",
    ],
)
def test_pnm_headers(header: str) -> None:
    pixels = noise(2, 3, 3)
    assert np.array_equal(one(pnm("P6", header, pixels.tobytes())), pixels)
    assert np.array_equal(one(pnm("P5", header, pixels[:, :, 0].tobytes())), pixels[:, :, :1].repeat(3, 2))


@pytest.mark.parametrize("maxval", [1, 2, 100, 254, 255, 256, 1023, 4095, 65534, 65535])
def test_pnm_maxval(maxval: int) -> None:
    samples = np.random.default_rng(maxval).integers(0, maxval + 1, (20, 30, 3), np.uint32)
    samples[0, 0] = (0, maxval, maxval // 2)
    raw = samples.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    exact = samples * 255.0 / maxval
    got = one(pnm("P6", f"\n30 20\n{maxval}\n", raw))
    assert np.abs(got - exact).max() <= 0.5 + 1e-9
    assert (got[0, 0, 0], got[0, 0, 1]) == (0, 255)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(samples: Array, depth: int, seed: int) -> bytes:
    """Rows of samples packed and filtered, each row with a filter by chance."""
    height, width, channels = samples.shape
    if height == 0 or width == 0:
        return b""
    step = max(1, channels * depth // 8)
    out, before = b"", None
    chooser = random.Random(seed)
    for row in samples.reshape(height, -1):
        if depth == 16:
            raw = row.astype(">u2").tobytes()
        else:
            bits = "".join(format(value, f"0{depth}b") for value in row)
            raw = bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))
        up = before or bytes(len(raw))
        out += filtered(chooser.randrange(5), raw, up, step)
        before = raw
    return out


def filtered(kind: int, raw: bytes, up: bytes, step: int) -> bytes:
    def predicted(at: int) -> int:
        left, corner = (raw[at - step], up[at - step]) if at >= step else (0, 0)
        if kind == 4:
            guess = left + up[at] - corner
            return min((left, up[at], corner), key=lambda value: abs(guess - value))
        return (0, left, up[at], (left + up[at]) // 2)[kind]

    return bytes([kind]) + bytes((byte - predicted(at)) & 255 for at, byte in enumerate(raw))


def png(
    samples: Array,
    depth: int,
    colour: int,
    *,
    palette: bytes = b"",
    interlaced: bool = False,
    seed: int = 0,
    extra: bytes = b"",
) -> bytes:
    height, width, _ = samples.shape
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    if interlaced:
        passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        raw = b"".join(png_rows(samples[top::down, left::right], depth, seed) for top, left, down, right in passes)
    else:
        raw = png_rows(samples, depth, seed)
    packed = zlib.compress(raw, seed % 10)
    half = len(packed) // 2
    body = chunk(b"IHDR", head) + extra + (chunk(b"PLTE", palette) if palette else b"")
    body += chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:]) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


PNG_KINDS = [
    (colour, depth)
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16)))
    for depth in depths
]


@settings(max_examples=1000, deadline=None)
@given(
    kind=st.sampled_from(PNG_KINDS),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    interlaced=st.booleans(),
    seed=st.integers(0, 1 << 20),
)
def test_png_of_every_kind(kind: tuple[int, int], height: int, width: int, interlaced: bool, seed: int) -> None:
    colour, depth = kind
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    samples = np.random.default_rng(seed).integers(0, 1 << depth, (height, width, channels), np.uint32)
    palette = random.Random(seed).randbytes(3 << depth) if colour == 3 else b""
    extra = chunk(b"tEXt", b"a note") if seed % 2 else b""
    got = one(png(samples, depth, colour, palette=palette, interlaced=interlaced, seed=seed, extra=extra))
    if colour == 3:
        expected = np.frombuffer(palette, np.uint8).reshape(-1, 3)[samples[:, :, 0]]
    elif depth == 16:
        expected = (samples >> 8)[:, :, : 3 if channels > 2 else 1]
    else:
        expected = (samples * 255 // ((1 << depth) - 1))[:, :, : 3 if channels > 2 else 1]
    assert np.array_equal(got, expected.repeat(3, 2) if expected.shape[2] == 1 else expected)


# A process of its own for each image: peak memory never falls again.
PEAK = """
import re, sys
from pathlib import Path
from acceleratorAPI.functions.alse_jpegenc import JpegEncoder, JpegParameters

def encode(path):
    with open(path, "rb", buffering=0) as source, open("/dev/null", "wb") as target:
        # The coarsest quality: what is asked about is the image, not the JPEG beside it.
        JpegEncoder(1).process(source, target, JpegParameters(quality=1))

def held_bytes(field):
    return int(re.search(field + ":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

encode(sys.argv[1])
before = held_bytes("VmRSS")
encode(sys.argv[2])
print(held_bytes("VmHWM") - before)
"""


def saved(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, compress_level=1)
    return file.getvalue()


def wide_png(side: int, channels: int, colour: int) -> bytes:
    """16 bits a sample, of rows without a filter."""
    rows = np.pad(noise(side, side * channels * 2, 1)[:, :, 0], ((0, 0), (1, 0)))
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, colour, 0, 0, 0))
    body += chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# How to make it, and its bytes of memory a pixel as the documentation has them, without a PNG's own size.
HELD: dict[str, tuple[Callable[[int], bytes], int]] = {
    "ppm": (lambda side: pnm("P6", f"\n{side} {side}\n255\n", noise(side, side, 3).tobytes()), 3),
    "ppm of 16 bits": (lambda side: pnm("P6", f"\n{side} {side}\n65535\n", noise(side, side, 6).tobytes()), 6),
    "ppm maxval 100": (lambda side: pnm("P6", f"\n{side} {side}\n100\n", noise(side, side, 3).tobytes()), 3),
    "bmp": (lambda side: bmp(noise(side, side, 3)), 3),
    "bmp with a palette": (lambda side: bmp(noise(side, side, 1), palette=bytes(range(256)) * 4, colours=256), 4),
    "png rgb": (lambda side: saved(Image.fromarray(noise(side, side, 3)), "PNG"), 7),
    "png rgba": (lambda side: saved(Image.fromarray(noise(side, side, 4)), "PNG"), 7),
    "png rgb of 16 bits": (lambda side: wide_png(side, 3, 2), 7),
    "png grey": (lambda side: saved(Image.fromarray(noise(side, side, 1)[:, :, 0]), "PNG"), 3),
    "png grey of 16 bits": (lambda side: wide_png(side, 1, 0), 3),
    "png grey with alpha": (lambda side: saved(picture("LA", side, side, 1), "PNG"), 5),
    "png with a palette": (lambda side: saved(picture("P", side, side, 1), "PNG"), 4),
}


@pytest.mark.parametrize("kind", HELD)
def test_an_image_takes_the_memory_that_is_counted(kind: str, tmp_path: Path) -> None:
    make, pixel_bytes = HELD[kind]
    side = 2000
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(make(50))
    large.write_bytes(make(side))
    (frame,) = frames(Intake(io.BytesIO(large.read_bytes())), Limits(side * side), Buffers(), "test")
    its_own = large.stat().st_size if kind.startswith("png") else 0
    assert frame.memory_bytes() <= pixel_bytes * side * side + its_own
    answer = subprocess.run([sys.executable, "-c", PEAK, small, large], check=True, capture_output=True)
    # Beside the image: bands, tables, the JPEG, and what the allocator keeps.
    assert int(answer.stdout) <= frame.memory_bytes() + (3 << 20)


@pytest.mark.parametrize("between", ["bmp", "png"])
def test_memory_is_used_again_but_not_kept_beside_a_png(between: str) -> None:
    buffers = Buffers()
    images = frames(
        Intake(io.BytesIO(SMALL_BMP + {"bmp": SMALL_BMP, "png": SMALL_PNG}[between])), LIMITS, buffers, "test"
    )
    first = next(images)
    buffers.give(first)
    second = next(images)
    assert (second.data is first.data) == (between == "bmp")
    assert buffers.take(len(first.data)) is not first.data


SMALL = noise(4, 3, 3)
SMALL_BMP = bmp(SMALL)
SMALL_PPM = pnm("P6", "\n3 4\n255\n", SMALL.tobytes())
SMALL_PNG = png(SMALL, 8, 2)
IHDR_AT = 16


def with_ihdr(**fields: int) -> bytes:
    values = {"width": 3, "height": 4, "depth": 8, "colour": 2, "compression": 0, "filter": 0, "interlace": 0, **fields}
    return SMALL_PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", *values.values())) + SMALL_PNG[33:]


HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    ("nothing known", lambda: b"GIF89a..", r"byte 0: image = 'GIF89a\.\.'"),
    ("one byte", lambda: b"B", "byte 0: image = 'B'"),
    (
        "bmp header size",
        lambda: bmp(SMALL, header=40)[:14] + struct.pack("<I", 41) + SMALL_BMP[18:],
        "byte 14: BMP header size = 41",
    ),
    ("bmp width 0", lambda: bmp(SMALL, width=0), "byte 18: BMP width = 0: must be 1 to 65500"),
    ("bmp width -3", lambda: bmp(SMALL, width=-3), "byte 18: BMP width = -3"),
    ("bmp width", lambda: bmp(SMALL, width=65501), "byte 18: BMP width = 65501"),
    ("bmp height 0", lambda: bmp(SMALL, height=0), "byte 22: BMP height = 0"),
    ("bmp height", lambda: bmp(SMALL, height=-(1 << 31)), "byte 22: BMP height = 2147483648"),
    (
        "bmp bomb",
        lambda: bmp(SMALL, width=65500, height=65500),
        "65500 x 65500 = 4290250000: more pixels than max_pixels = 1048576",
    ),
    ("bmp planes", lambda: bmp(SMALL, planes=3), "byte 26: BMP planes = 3"),
    ("bmp bits", lambda: bmp(SMALL, bits=16), "byte 28: BMP bits a pixel = 16: must be 8, 24 or 32"),
    ("bmp run lengths", lambda: bmp(SMALL[:, :, :1], compression=1), "byte 30: BMP compression = 1"),
    ("bmp png inside", lambda: bmp(SMALL, compression=5), "byte 30: BMP compression = 5"),
    ("bmp masks of 24 bits", lambda: bmp(SMALL, masks=(1, 2, 3)), "byte 30: BMP compression = 3"),
    (
        "bmp masks",
        lambda: bmp(noise(2, 2, 4), masks=(0x7C00, 0x3E0, 0x1F)),
        "byte 54: BMP colour masks = 00007c00 000003e0 0000001f",
    ),
    ("bmp offset before", lambda: bmp(SMALL, offset=53), "byte 10: BMP offset of the pixels = 53: must be 54 to"),
    ("bmp offset far", lambda: bmp(SMALL, offset=1 << 31), "byte 10: BMP offset of the pixels = 2147483648"),
    (
        "bmp offset outside",
        lambda: bmp(SMALL, offset=5000),
        "BMP gap before the pixels = 48 bytes: the input ends there, and 4946 bytes were to come",
    ),
    ("bmp file size", lambda: bmp(SMALL, file=(1 << 32) - 1), "byte 2: BMP file size = 4294967295: must be 0 to"),
    ("bmp colours", lambda: bmp(SMALL[:, :, :1], colours=257), "byte 46: BMP colours used = 257: must be 0 to 256"),
    ("bmp giant palette", lambda: bmp(SMALL[:, :, :1], colours=0xFFFFFFFF), "byte 46: BMP colours used = 4294967295"),
    (
        "bmp palette over pixels",
        lambda: bmp(SMALL[:, :, :1], palette=bytes(1024), offset=100),
        "byte 10: BMP offset of the pixels = 100: must be 1078",
    ),
    (
        "bmp row missing",
        lambda: SMALL_BMP[:-12],
        "byte 54: BMP pixels = 36 bytes: the input ends there, and 48 bytes were to come",
    ),
    ("ppm no number", lambda: b"P6\nx 4\n255\n" + bytes(36), "byte 0: PNM header = 'P6"),
    ("ppm negative", lambda: b"P6\n-3 4\n255\n" + bytes(36), "byte 0: PNM header = 'P6"),
    ("ppm long number", lambda: b"P6\n" + b"9" * 11 + b" 4\n255\n" + bytes(36), "byte 0: PNM header = 'P6"),
    ("ppm endless comment", lambda: b"P6\n#" + b"x" * 100_000, "within 4096 bytes"),
    ("ppm width 0", lambda: b"P6\n0 4\n255\n", "byte 3: PNM width = 0"),
    ("ppm height", lambda: b"P6\n3 65501\n255\n", "byte 5: PNM height = 65501"),
    (
        "ppm bomb",
        lambda: b"P6\n60000 60000\n255\n",
        "byte 3: PNM width x height = 60000 x 60000 = 3600000000: more pixels than max_pixels",
    ),
    ("ppm maxval 0", lambda: b"P6\n3 4\n0\n" + bytes(36), "byte 7: PNM maxval = 0: must be 1 to 65535"),
    ("ppm maxval", lambda: b"P6\n3 4\n65536\n" + bytes(72), "byte 7: PNM maxval = 65536"),
    (
        "ppm row missing",
        lambda: SMALL_PPM[:-9],
        "byte 11: PNM pixels = 27 bytes: the input ends there, and 36 bytes were to come",
    ),
    ("png first chunk", lambda: SMALL_PNG[:8] + chunk(b"IDAT", b""), "byte 8: PNG first chunk = 'IDAT' of 0 bytes"),
    (
        "png long ihdr",
        lambda: SMALL_PNG[:8] + chunk(b"IHDR", bytes(14)),
        "byte 8: PNG first chunk = 'IHDR' of 14 bytes",
    ),
    ("png width 0", lambda: with_ihdr(width=0), "byte 16: PNG width = 0"),
    ("png height", lambda: with_ihdr(height=1 << 31), "byte 20: PNG height = 2147483648"),
    ("png bomb", lambda: with_ihdr(width=65500, height=65500), "byte 16: PNG width x height = 65500 x 65500"),
    ("png colour", lambda: with_ihdr(colour=5), "byte 25: PNG colour type = 5"),
    ("png depth", lambda: with_ihdr(depth=4), "byte 24: PNG bit depth = 4: must be 8, 16 with colour type 2"),
    ("png compression", lambda: with_ihdr(compression=1), "byte 26: PNG compression method = 1"),
    ("png filter", lambda: with_ihdr(filter=1), "byte 27: PNG filter method = 1"),
    ("png interlace", lambda: with_ihdr(interlace=2), "byte 28: PNG interlace method = 2: must be 0 or 1"),
    ("png crc", lambda: SMALL_PNG[:29] + b"\0\0\0\0" + SMALL_PNG[33:], "byte 8: PNG IHDR CRC = 00000000: must be"),
    ("png data crc", lambda: SMALL_PNG[:45] + b"\xff" + SMALL_PNG[46:], "byte 33: PNG IDAT CRC"),
    ("png chunk name", lambda: SMALL_PNG[:33] + chunk(b"ID\0T", b""), r"byte 33: PNG chunk = b'ID\\x00T' of 0 bytes"),
    (
        "png chunk length",
        lambda: SMALL_PNG[:33] + b"\xff\xff\xff\xffIDAT",
        "byte 33: PNG chunk = b'IDAT' of 4294967295 bytes",
    ),
    (
        "png critical chunk",
        lambda: SMALL_PNG[:33] + chunk(b"BOMB", b""),
        "byte 33: PNG chunk = BOMB: no such critical chunk",
    ),
    ("png second ihdr", lambda: SMALL_PNG[:33] + SMALL_PNG[8:], "byte 33: PNG chunk = IHDR: there is one already"),
    ("png giant palette", lambda: SMALL_PNG[:33] + chunk(b"PLTE", bytes(771)), "byte 33: PNG PLTE length = 771"),
    (
        "png giant data",
        lambda: SMALL_PNG[:33] + struct.pack(">I", 1 << 30) + b"IDAT",
        "byte 33: PNG IDAT length = 1073741824: more than 3 x 4 pixels take",
    ),
    (
        "png many chunks",
        lambda: SMALL_PNG[:33] + chunk(b"IDAT", b"") * 10_000,
        "PNG IDAT length = 0: more than 3 x 4 pixels take",
    ),
    (
        "png note cut",
        lambda: SMALL_PNG[:33] + struct.pack(">I", 1 << 30) + b"tEXt",
        "PNG tEXt = 0 bytes: the input ends there",
    ),
]


@pytest.mark.parametrize(
    ("data", "said"), [(make, said) for _, make, said in HOSTILE], ids=[name for name, _, _ in HOSTILE]
)
def test_a_hostile_image_is_refused_before_memory_is_taken(data: Callable[[], bytes], said: str) -> None:
    given_bytes = data()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"^test: frame 1, {said}" if said.startswith("byte") else said) as caught:
            decoded(given_bytes)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: png(SMALL, 8, 2)[:33] + chunk(b"IEND", b""), "PNG data"),
        (lambda: SMALL_PNG[:33] + chunk(b"IDAT", b"no zlib stream") + chunk(b"IEND", b""), "PNG data"),
        (lambda: SMALL_PNG[:33] + chunk(b"IDAT", zlib.compress(bytes(5))) + chunk(b"IEND", b""), "PNG data"),
    ],
    ids=["no data", "no zlib", "too few rows"],
)
def test_png_data_that_contradict_their_header(data: Callable[[], bytes], said: str) -> None:
    with pytest.raises(UnpackError, match=said):
        decoded(data())


def test_a_png_that_inflates_to_more_than_its_rows_costs_only_its_rows() -> None:
    """100 MB of zeros behind the rows of a 3 x 4 image: small enough as data, never inflated."""
    bomb = SMALL_PNG[:33] + chunk(b"IDAT", zlib.compress(bytes(40) + bytes(50_000_000))) + chunk(b"IEND", b"")
    assert len(bomb) < 64 << 10
    assert one(bomb).shape == (4, 3, 3)


@pytest.mark.parametrize(
    "data",
    [SMALL_BMP, SMALL_PPM, SMALL_PNG, bmp(SMALL[:, :, :1], palette=bytes(1024))],
    ids=["bmp", "ppm", "png", "palette"],
)
def test_cut_off_anywhere(data: bytes) -> None:
    for size_bytes in range(1, len(data)):
        with pytest.raises(InputError, match="frame 2, "):
            decoded(SMALL_PPM + data[:size_bytes])
    assert len(decoded(SMALL_PPM + data)) == 2


@settings(max_examples=1500, deadline=None)
@given(
    data=st.sampled_from([SMALL_BMP, SMALL_PPM, SMALL_PNG, bmp(SMALL[:, :, :1], palette=bytes(range(256)) * 4)]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6),
    raw=st.binary(max_size=60),
)
@example(data=SMALL_BMP, changes=[(0, ord("P")), (1, ord("6"))], raw=b"")
def test_any_damage_is_an_image_or_an_error_of_ours(data: bytes, changes: list[tuple[int, int]], raw: bytes) -> None:
    damaged = bytearray(data)
    for at, byte in changes:
        # Mostly in the header.
        damaged[at % (len(data) if at % 3 == 0 else min(len(data), 80))] = byte
    for attempt in (bytes(damaged), data[:2] + raw, data[:8] + raw):
        with contextlib.suppress(InputError, UnpackError):
            assert decoded(attempt + SMALL_PPM)


def test_frames_of_all_kinds_follow_each_other() -> None:
    images = decoded((SMALL_BMP + SMALL_PNG + SMALL_PPM + bmp(noise(1, 1, 3))) * 3)
    assert len(images) == 12
    assert np.array_equal(images[0], SMALL[:, :, ::-1])
    assert np.array_equal(images[1], SMALL)
    assert np.array_equal(images[10], SMALL)


def test_an_error_counts_frames_and_bytes() -> None:
    with pytest.raises(InputError, match=rf"frame 3, byte {2 * len(SMALL_BMP)}: image = 'junk': .*; convert it to one"):
        decoded(SMALL_BMP * 2 + b"junk")


def test_a_larger_image_than_pillows_own_limit(recwarn: pytest.WarningsRecorder) -> None:
    """Pillow warns of 90 million pixels; here ``max_pixels`` alone decides."""
    side = 10_000
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + side // 8) * side))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (image,) = frames(Intake(io.BytesIO(data)), Limits(side * side), Buffers(), "test")
    pixels, channels = image.unpack()
    assert (pixels.shape, channels) == ((side, side, 1), "GRAY")
    assert not pixels.any()
    with pytest.raises(InputError, match="more pixels than max_pixels = 99999999"):
        decoded(data, Limits(side * side - 1))
