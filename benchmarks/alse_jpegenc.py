"""alse_jpegenc on 1080p frames, BMP files in and JPEG files out, against Pillow in one thread with the same settings.

No photographs ship with the project: the frames are made here, with what makes photographs costly to encode: slopes,
edges of shapes, texture in several sizes, and the noise of a sensor. They are the same on every machine.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from acceleratorAPI.files import open_source
from acceleratorAPI.functions.alse_jpegenc import JpegEncoder, JpegParameters, Subsampling
from benchmarks.common import Options, Peer, Row, compare, race, rewritten

WIDTH, HEIGHT = 1920, 1080
QUALITY = 75
SUBSAMPLING: Subsampling = "4:2:0"
# Different frames, each several times: making one takes longer than encoding it.
DIFFERENT = 8


def measure(work: Path, options: Options) -> list[Row]:
    """Race on a stream of frames with all threads and with one, and on single frames."""
    frames = [_bmp(number) for number in range(DIFFERENT)]
    count = options.jpeg_frames
    files = [_write(work / f"{number}.bmp", data) for number, data in enumerate(frames)]
    order = [number % DIFFERENT for number in range(count)]
    stream = work / "frames.bmp"
    with stream.open("wb") as target:
        for number in order:
            target.write(frames[number])
    size_bytes = stream.stat().st_size
    many = _stream(stream, work, options.threads)
    one = _stream(stream, work, 1)
    single = _single(files[0], work, options.threads, count)
    pillow = Peer("Pillow, one thread", lambda: _pillow([files[number] for number in order], work), size_bytes)
    rates = race(many, [one, single, pillow], options.rounds)
    _check(work, frames[order[-1]])
    size_ratio = _sizes(work, order) / sum((work / f"{number}.bmp.jpg").stat().st_size for number in order)
    return [
        compare(many, pillow, rates, size_ratio=size_ratio),
        compare(one, pillow, rates, size_ratio=size_ratio),
        compare(single, pillow, rates),
    ]


def _stream(stream: Path, work: Path, threads: int) -> Peer:
    function = JpegEncoder(threads)
    parameters = JpegParameters(quality=QUALITY, subsampling=SUBSAMPLING)

    def run() -> None:
        with open_source(stream) as source, rewritten(work / "ours.mjpeg") as target:
            function.process(source, target, parameters)

    return Peer(f"alse_jpegenc, stream of 1080p BMP, {threads} threads", run, stream.stat().st_size)


def _single(file: Path, work: Path, threads: int, count: int) -> Peer:
    """One frame a job, as a client that has single files sees the function."""
    function = JpegEncoder(threads)
    parameters = JpegParameters(quality=QUALITY, subsampling=SUBSAMPLING)

    def run() -> None:
        for _ in range(count):
            with open_source(file) as source, rewritten(work / "single.jpg") as target:
                function.process(source, target, parameters)

    return Peer("alse_jpegenc, one 1080p BMP a job", run, count * file.stat().st_size)


def _pillow(files: list[Path], work: Path) -> None:
    for file in files:
        with Image.open(file) as image, rewritten(work / f"{file.name}.jpg") as target:
            image.save(target, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)


def _sizes(work: Path, order: list[int]) -> int:
    size_bytes = (work / "ours.mjpeg").stat().st_size
    if (work / "ours.mjpeg").read_bytes().count(b"\xff\xd8\xff\xe0") != len(order):
        raise SystemExit("our output has another number of frames")
    return size_bytes


def _check(work: Path, last: bytes) -> None:
    """The last frame of our stream is what Pillow makes of it, but for rounding."""
    stream = (work / "ours.mjpeg").read_bytes()
    jpeg = stream[stream.rindex(b"\xff\xd8\xff\xe0") :]
    ours = np.asarray(Image.open(io.BytesIO(jpeg)), np.int16)
    theirs = io.BytesIO()
    Image.open(io.BytesIO(last)).save(theirs, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    if np.abs(ours - np.asarray(Image.open(theirs), np.int16)).mean() > 1:
        raise SystemExit("our JPEG differs from Pillow's")


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _bmp(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(WIDTH, HEIGHT, number)).save(file, "BMP")
    return file.getvalue()


def photograph(width: int, height: int, seed: int) -> Any:
    """An image as costly to encode as a photograph; rows x columns x RGB, the same for the same arguments."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    canvas = np.stack([90 + 80 * x / width, 110 + 60 * y / height, 150 - 70 * (x + y) / (width + height)], axis=2)
    image = Image.fromarray(canvas.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        left, top = int(random.integers(-100, width)), int(random.integers(-100, height))
        box = (left, top, left + int(random.integers(20, 500)), top + int(random.integers(20, 400)))
        colour = tuple(int(value) for value in random.integers(20, 236, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=colour)
    pixels = np.asarray(image, np.float32)
    for step, strength in ((32, 10.0), (8, 8.0), (2, 5.0)):
        coarse = random.normal(0, strength, (height // step + 1, width // step + 1, 1)).astype(np.float32)
        pixels = pixels + coarse.repeat(step, 0).repeat(step, 1)[:height, :width]
    pixels = pixels + random.normal(0, 2.5, (height, width, 3)).astype(np.float32)
    return pixels.clip(0, 255).astype(np.uint8)
