"""The function ``alse_jpegenc``: JPEGs of an image or a stream of images, encoded on several cores by libjpeg-turbo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import override

from acceleratorAPI.drivers.base import Source, Target
from acceleratorAPI.drivers.cpu import PieceKernel, run_pieces
from acceleratorAPI.drivers.ends import Intake
from acceleratorAPI.errors import FunctionFailedError, InputError
from acceleratorAPI.functions.base import Function, NoParameters, Outcome, Parameters
from acceleratorAPI.functions.images.frame import LARGEST_SIDE, Buffers, Frame, Limits, UnpackError
from acceleratorAPI.functions.images.stream import frames
from acceleratorAPI.protocol.cards import Card

if TYPE_CHECKING:
    from acceleratorAPI.functions.images.frame import Pixels

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0", "gray"]
# As simplejpeg names them.
_SUBSAMPLINGS: dict[Subsampling, str] = {"4:4:4": "444", "4:2:2": "422", "4:2:0": "420", "gray": "Gray"}
_LISTED_SIZES = 16


class JpegParameters(Parameters):
    """Parameters of ``process``."""

    quality: int = Field(75, ge=1, le=100, description="1 (smallest) to 100 (finest): the scale of libjpeg.")
    subsampling: Subsampling = Field(
        "4:2:0", description="Resolution of the colours: `4:4:4` full, `4:2:2`, `4:2:0` half and quarter, `gray` none."
    )
    max_pixels: int = Field(
        1 << 26,
        ge=1,
        le=LARGEST_SIDE**2,
        description="Images of more pixels are refused. One may take 7 bytes of memory a pixel, a PNG its size too.",
    )


class JpegKernel(PieceKernel[Frame]):
    """Cuts a stream into images and encodes each."""

    def __init__(self, parameters: JpegParameters) -> None:
        # Here and not at the first image, whose time is measured.
        from simplejpeg import encode_jpeg

        self._encode: Callable[[Pixels, int, str, str, bool], bytes] = encode_jpeg
        self.frames = 0
        self.sizes: dict[tuple[int, int], None] = {}
        self._parameters = parameters
        self._buffers = Buffers()

    @override
    def pieces(self, intake: Intake) -> Iterator[Frame]:
        return frames(intake, Limits(self._parameters.max_pixels), self._buffers, "alse_jpegenc")

    @override
    def size_bytes(self, piece: Frame) -> int:
        return piece.memory_bytes()

    @override
    def run(self, piece: Frame) -> bytes:
        try:
            pixels, channels = piece.unpack()
        except UnpackError as error:
            raise InputError(f"alse_jpegenc: frame {piece.number}, byte {piece.offset}: {error}") from error
        subsampling = "Gray" if channels == "GRAY" else _SUBSAMPLINGS[self._parameters.subsampling]
        # The last one: the precise DCT, which SIMD has made as quick as the approximate one.
        return self._encode(pixels, self._parameters.quality, channels, subsampling, False)

    @override
    def written(self, piece: Frame) -> None:
        self._buffers.give(piece)
        self.frames += 1
        if len(self.sizes) < _LISTED_SIZES:
            self.sizes[piece.width, piece.height] = None


class JpegEncoder(Function[NoParameters, JpegParameters]):
    """Encodes images to baseline JPEG."""

    card = Card(
        name="alse_jpegenc",
        title="JPEG encoding of images and streams of images",
        description=(
            "Encodes BMP, PPM, PGM and PNG images to baseline JPEG with libjpeg-turbo. The input may hold many images "
            "one after the other, of any sizes and formats; the output then holds their JPEGs one after the other, "
            "which is a Motion JPEG stream. Images are encoded on all cores, in order."
        ),
        version="1.0",
        limits=(
            "BMP of 8, 24 and 32 bits a pixel, uncompressed; PPM (P6) and PGM (P5) of 8 and 16 bits; any PNG.",
            f"Sides of 1 to {LARGEST_SIDE} pixels: the limit of libjpeg, 35 below that of the format.",
            "A JPEG has no transparency: an alpha channel is dropped, and colour profiles and other notes with it.",
            "One image is encoded by one core: several cores need several images.",
            "Memory: about 64 MiB and one image, up to 7 bytes a pixel and a PNG's own size; `max_pixels` bounds it.",
        ),
    )
    process_parameters = JpegParameters

    @override
    def process(self, source: Source | None, target: Target | None, parameters: JpegParameters) -> Outcome:
        if source is None or target is None:
            raise FunctionFailedError("alse_jpegenc: needs an input and an output")
        kernel = JpegKernel(parameters)
        measurement = run_pieces(kernel, source, target, self.threads)
        rate = kernel.frames / measurement.kernel_s if measurement.kernel_s > 0 else 0.0
        return Outcome(measurement, {**_facts(kernel, parameters), "image bandwidth (in frames/s)": round(rate, 3)})


def _facts(kernel: JpegKernel, parameters: JpegParameters) -> dict[str, Any]:
    """What was encoded; the size is that of the first image, ``sizes`` is there when others differ."""
    sizes = list(kernel.sizes)
    facts = {
        "frames": kernel.frames,
        "width": sizes[0][0],
        "height": sizes[0][1],
        "quality": parameters.quality,
        "subsampling": parameters.subsampling,
    }
    return facts if len(sizes) == 1 else {**facts, "sizes": [f"{width}x{height}" for width, height in sizes]}
