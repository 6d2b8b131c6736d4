"""alse_jpegenc, judged by Pillow's decoder: near to the original by quality, of the right kind, in the right order."""

from __future__ import annotations

import io
import math
import struct
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from acceleratorAPI import Accelerator
from acceleratorAPI.errors import InputError, ParameterError
from acceleratorAPI.functions.alse_jpegenc import JpegEncoder, JpegParameters
from acceleratorAPI.functions.base import Outcome, check_parameters
from acceleratorAPI.testing.function_contract import FunctionContract

Array = Any
# Decibels that a smooth picture keeps at least. Measured here: 2 to 6 more.
LEAST_PSNR = {1: 15, 25: 26, 50: 29, 75: 31, 90: 34, 100: 38}


def picture(height: int, width: int, seed: int = 0) -> Array:
    """Slopes and waves in three colours: smooth, as photographs are, whatever the size."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 64.0
    waves = [random.uniform(-1, 1) * x + random.uniform(-1, 1) * y + random.uniform(0, 6) for _ in range(3)]
    return np.stack([127.5 + 100 * np.sin(wave) for wave in waves], axis=2).astype(np.uint8)


def packed(pixels: Array, kind: str = "BMP") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def encoded(data: bytes, threads: int = 2, **values: Any) -> tuple[bytes, Outcome]:
    target = io.BytesIO()
    outcome = JpegEncoder(threads).process(io.BytesIO(data), target, JpegParameters(**values))
    return target.getvalue(), outcome


def jpegs(stream: bytes) -> list[bytes]:
    """A Motion JPEG stream cut into its images: segments by their lengths, then the scan up to EOI."""
    found, at = [], 0
    while at < len(stream):
        start = at
        assert stream[at : at + 2] == b"\xff\xd8"
        at += 2
        while stream[at + 1] != 0xDA:
            assert stream[at] == 0xFF
            at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
        # In the scan, 0xFF is followed by 0 except at its end: baseline, and no restarts.
        at = stream.index(b"\xff\xd9", at) + 2
        found.append(stream[start:at])
    return found


def decoded(jpeg: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def psnr(one: Array, other: Array) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


class TestContract(FunctionContract):
    function = JpegEncoder

    def sample(self, size_bytes: int) -> bytes:
        """A stream of images of three sizes in two formats, of about that size, and at least one."""
        kinds = [
            packed(picture(*size), kind) for size, kind in (((100, 150), "BMP"), ((7, 5), "PPM"), ((64, 64), "BMP"))
        ]
        images = [kinds[0]]
        while sum(map(len, images)) + len(kinds[0]) < size_bytes:
            images.append(kinds[len(images) % 3])
        return b"".join(images)

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        images = jpegs(got)
        assert outcome.specific["frames"] == len(images)
        for number, jpeg in enumerate(images):
            height, width = ((100, 150), (7, 5), (64, 64))[number % 3]
            assert psnr(decoded(jpeg), picture(height, width)) > 25


class TestContractGrayBest(TestContract):
    process_values: ClassVar = {"quality": 100, "subsampling": "gray"}

    def check(self, given: bytes, got: bytes, outcome: Outcome) -> None:
        for jpeg in jpegs(got):
            image = Image.open(io.BytesIO(jpeg))
            assert image.mode == "L"
            image.load()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "gray"])
@pytest.mark.parametrize("quality", LEAST_PSNR)
def test_near_to_the_original_by_quality(quality: int, subsampling: str) -> None:
    pixels = picture(240, 320, 5)
    jpeg, outcome = encoded(packed(pixels), quality=quality, subsampling=subsampling)
    if subsampling == "gray":
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    assert psnr(decoded(jpeg), pixels) > LEAST_PSNR[quality]
    assert {name: outcome.specific[name] for name in ("frames", "width", "height", "quality", "subsampling")} == {
        "frames": 1,
        "width": 320,
        "height": 240,
        "quality": quality,
        "subsampling": subsampling,
    }


@pytest.mark.parametrize(("subsampling", "sampling"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2), ("gray", -1)])
def test_the_kind_of_jpeg(subsampling: str, sampling: int) -> None:
    """Baseline (SOF0, tables of 8 bits) at every quality, with the sampling asked for and the tables of libjpeg."""
    pixels = picture(33, 47)
    for quality in range(1, 101):
        jpeg, _ = encoded(packed(pixels), quality=quality, subsampling=subsampling)
        image = Image.open(io.BytesIO(jpeg))
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(image) == sampling
        assert ("progression" in image.info, image.info["jfif"]) == (False, 257)
        assert b"\xff\xc0\x00" in jpeg
        peer = io.BytesIO()
        Image.fromarray(pixels).save(peer, "JPEG", quality=quality)
        assert image.quantization[0] == Image.open(peer).quantization[0]  # type: ignore[attr-defined]
        assert max(max(table) for table in image.quantization.values()) <= 255


def test_the_same_jpeg_from_every_format() -> None:
    """Formats differ in the order of rows and colours only; the precise DCT leaves no room for chance."""
    pixels = picture(50, 70)
    outputs = {encoded(packed(pixels, kind))[0] for kind in ("BMP", "PPM", "PNG")}
    rgba = np.dstack([pixels, np.full((50, 70), 9, np.uint8)])
    outputs |= {encoded(packed(rgba, kind))[0] for kind in ("BMP", "PNG")}
    assert len(outputs) == 1
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    for kind in ("BMP", "PPM", "PNG"):
        jpeg, _ = encoded(packed(grey, kind))
        assert psnr(decoded(jpeg), grey) > LEAST_PSNR[75]


@settings(max_examples=1200, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    kind=st.sampled_from(["BMP", "PPM", "PNG"]),
    quality=st.sampled_from([75, 90, 100]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "gray"]),
    seed=st.integers(0, 1 << 30),
)
def test_any_size(height: int, width: int, kind: str, quality: int, subsampling: str, seed: int) -> None:
    pixels = picture(height, width, seed)
    jpeg, outcome = encoded(packed(pixels, kind), threads=1, quality=quality, subsampling=subsampling)
    if subsampling == "gray":
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    got = decoded(jpeg)
    assert got.shape == pixels.shape
    assert psnr(got, pixels) > 25
    assert (outcome.specific["width"], outcome.specific["height"]) == (width, height)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_frames_keep_their_order(threads: int) -> None:
    """Frames of very different cost, each with a number in its colour."""
    sizes = [(8, 8) if number % 3 else (400, 600) for number in range(60)]
    frames = [np.full((*size, 3), 4 * number, np.uint8) for number, size in enumerate(sizes)]
    stream, outcome = encoded(b"".join(packed(frame) for frame in frames), threads)
    images = jpegs(stream)
    assert [round(float(decoded(jpeg).mean()) / 4) for jpeg in images] == list(range(60))
    assert outcome.specific["frames"] == 60
    assert outcome.specific["sizes"] == ["600x400", "8x8"]
    assert outcome.specific["image bandwidth (in frames/s)"] == pytest.approx(
        60 / outcome.measurement.kernel_s, abs=0.01
    )


def test_many_frames_of_one_size_say_so() -> None:
    stream, outcome = encoded(packed(picture(24, 32)) * 500)
    assert len(jpegs(stream)) == outcome.specific["frames"] == 500
    assert len(set(jpegs(stream))) == 1
    assert (outcome.specific["width"], outcome.specific["height"]) == (32, 24)
    assert "sizes" not in outcome.specific


@pytest.mark.parametrize(("height", "width"), [(1, 65500), (65500, 1)])
def test_the_longest_sides(height: int, width: int) -> None:
    pixels = picture(height, width)
    jpeg, _ = encoded(packed(pixels))
    assert psnr(decoded(jpeg), pixels) > 25


def test_no_input_and_broken_input() -> None:
    with pytest.raises(InputError, match="alse_jpegenc: the input is empty"):
        encoded(b"")
    data = packed(picture(10, 10))
    with pytest.raises(InputError, match=rf"alse_jpegenc: frame 3, byte {2 * len(data) + 54}: BMP pixels = 15 bytes"):
        encoded(data * 2 + data[:69])
    png = bytearray(packed(picture(10, 10), "PNG"))
    cut = bytes(png[:33]) + bytes(png[-12:])
    with pytest.raises(InputError, match=rf"^alse_jpegenc: frame 2, byte {len(data)}: PNG data"):
        encoded(data + cut)


def test_max_pixels() -> None:
    data = packed(picture(10, 10))
    assert encoded(data, max_pixels=100)[1].specific["frames"] == 1
    with pytest.raises(InputError, match="10 x 10 = 100: more pixels than max_pixels = 99"):
        encoded(data, max_pixels=99)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"quality": 0}, "'quality' = 0"),
        ({"quality": 101}, "'quality' = 101"),
        ({"quality": "best"}, "'quality' = 'best'"),
        ({"subsampling": "4:1:1"}, "'subsampling' = '4:1:1': .*'4:2:0'"),
        ({"max_pixels": 65500**2 + 1}, "'max_pixels'"),
        ({"qualty": 50}, "did you mean 'quality'"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_parameters(JpegParameters, values, "alse_jpegenc")


def test_large_frames_are_not_piled_up() -> None:
    """No more than 64 MiB in flight and one frame being read, however slow the output is."""
    frame = b"P6\n2000 2000\n255\n" + bytes(12_000_000)
    read_bytes, gate = 0, threading.Event()

    class Source:
        def __init__(self) -> None:
            self.data = memoryview(frame)
            self.at = 0

        def readinto(self, buffer: memoryview, /) -> int:
            nonlocal read_bytes
            rest = self.data[self.at : self.at + len(buffer)] if read_bytes < 40 * len(frame) else self.data[:0]
            buffer[: len(rest)] = rest
            read_bytes += len(rest)
            self.at = (self.at + len(rest)) % len(frame)
            return len(rest)

    class Stuck:
        def write(self, data: memoryview, /) -> int:
            gate.wait(60)
            return len(data)

    job = threading.Thread(target=JpegEncoder(16).process, args=(Source(), Stuck(), JpegParameters()))
    job.start()
    seen = -1
    while seen != read_bytes or seen < len(frame):
        seen = read_bytes
        gate.wait(0.5)
    held = read_bytes
    gate.set()
    job.join(60)
    assert held <= (64 << 20) + 2 * len(frame)
    assert read_bytes == 40 * len(frame)


def test_through_a_node(tmp_path: Path) -> None:
    source, output = tmp_path / "in.bmp", tmp_path / "out.jpg"
    pixels = picture(120, 160)
    source.write_bytes(packed(pixels))
    with Accelerator("alse_jpegenc") as accelerator:
        accelerator.start()
        result = accelerator.process(source, output, quality=90)
        assert psnr(decoded(output.read_bytes()), pixels) > LEAST_PSNR[90]
        assert (result.specific["frames"], result.backend) == (1, "cpu")
        before = output.read_bytes()
        source.write_bytes(b"")
        with pytest.raises(InputError, match="the input is empty"):
            accelerator.process(source, output)
    assert output.read_bytes() == before
