"""A folder that comes as a tar stream: read by the editor on its way in, and by ``silex_sha3``."""

from __future__ import annotations

import io
import tarfile

from acceleratorAPI.errors import InputError
from acceleratorAPI.native._kernels import Sha3Folder, TarStreamError
from acceleratorAPI.native.folder import TarReader

ALLOWED = (InputError, TarStreamError)


def _tar(kind: int, *names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for number, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size = 600 * number
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, names[0]
        archive.addfile(link)
    return file.getvalue()


SEEDS = (
    _tar(tarfile.USTAR_FORMAT, "a", "b/c"),
    _tar(tarfile.PAX_FORMAT, "é" * 80, "x" * 120),
    _tar(tarfile.GNU_FORMAT, "y" * 300, "z"),
    _tar(tarfile.USTAR_FORMAT, "a")[:700],
    b"x" * 1024,
)


def run(data: bytes) -> None:
    """What the editor passes on, it passes on the same way again; the reader of digests takes or refuses it."""
    reader = TarReader(io.BytesIO(data))
    edited = bytearray()
    buffer = memoryview(bytearray(1 << 16))
    while count := reader.readinto(buffer):
        edited += buffer[:count]
    folder = Sha3Folder("sha3-256", 32)
    rest = bytes(edited)
    while rest:
        size = folder.cut(rest) or len(rest)
        folder.plan(rest[:size]).run(rest[:size])
        rest = rest[size:]
    folder.finish()
