"""A single file as the member of a tar archive: its header, and a source of header, content and padding."""

from __future__ import annotations

import contextlib
import grp
import pwd
import stat
import tarfile
import time

from acceleratorAPI.drivers.base import Source
from acceleratorAPI.errors import InputError
from acceleratorAPI.functions.inputs import SourceInfo

END = bytes(2 * tarfile.BLOCKSIZE)


def header(name: str, info: SourceInfo, size_bytes: int, *, deterministic: bool) -> bytes:
    """All that stands before the content, in the pax format.

    Args:
        name: in the archive.
        info: whose owner, mode and time are kept when they are the user's own.
        size_bytes: of the content.
        deterministic: the same for every copy of the file.
    """
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o644
    status = info.status
    if deterministic:
        if status is not None and status.st_mode & stat.S_IXUSR:
            member.mode = 0o755
    elif status is None:
        member.mtime = int(time.time())
    else:
        member.mode = stat.S_IMODE(status.st_mode)
        member.mtime = int(status.st_mtime)
        member.uid, member.gid = status.st_uid, status.st_gid
        with contextlib.suppress(KeyError):
            member.uname = pwd.getpwuid(status.st_uid).pw_name
        with contextlib.suppress(KeyError):
            member.gname = grp.getgrgid(status.st_gid).gr_name
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class Member:
    """A file as a part of a tar stream. What it has beyond the announced size is left out.

    Attributes:
        bytes_in: of the content read so far.
    """

    def __init__(self, head: bytes, content: Source, size_bytes: int, *, last: bool) -> None:
        """Args:
        head: the member's header.
        content: the file.
        size_bytes: how much of it.
        last: the end of the archive follows.
        """
        self.bytes_in = 0
        self._content = content
        self._size_bytes = size_bytes
        self._before = memoryview(head)
        padding = bytes(-size_bytes % tarfile.BLOCKSIZE)
        self._behind = memoryview(padding + END if last else padding)

    def readinto(self, buffer: memoryview, /) -> int | None:
        """As ``Source.readinto``.

        Raises:
            InputError: the file became shorter.
        """
        if self._before:
            count = min(len(buffer), len(self._before))
            buffer[:count] = self._before[:count]
            self._before = self._before[count:]
            return count
        left = self._size_bytes - self.bytes_in
        if left:
            read = self._content.readinto(buffer[:left])
            if read == 0:
                raise InputError(f"the input shrank while it was read: {self.bytes_in} of {self._size_bytes} bytes")
            self.bytes_in += read or 0
            return read
        count = min(len(buffer), len(self._behind))
        buffer[:count] = self._behind[:count]
        self._behind = self._behind[count:]
        return count
