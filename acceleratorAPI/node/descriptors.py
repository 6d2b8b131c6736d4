"""Open files on their way from the node to a worker, which so needs to open none of the spool itself: ``SCM_RIGHTS``
of unix(7). Part of the lean worker.
"""

from __future__ import annotations

import errno
import os
import socket
from io import FileIO


class Giver:
    """The node's end.

    Attributes:
        theirs: the other end, for the worker to inherit.
    """

    def __init__(self) -> None:
        self._socket, self.theirs = socket.socketpair()
        # What the worker has not taken yet is one file or two: there is always room.
        self._socket.setblocking(False)

    def give(self, descriptor: int) -> None:
        """Send an open file; the caller may close it then.

        Raises:
            OSError: the worker is gone.
        """
        socket.send_fds(self._socket, [b"\0"], [descriptor])

    def close(self) -> None:
        """Close both ends."""
        self._socket.close()
        self.theirs.close()


class Taker:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def take(self, mode: str) -> FileIO:
        """The next file, which a message that has arrived said is there.

        Raises:
            OSError: this process has as many files open as it may.
        """
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not descriptors:
            # The kernel has closed what found no place.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return FileIO(descriptors[0], mode)


def open_input(path: str) -> int:
    """The descriptor of a file of the spool, for reading."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def open_output(path: str) -> int:
    """The descriptor of a new, empty file of the spool; what an earlier attempt of the job has left there goes."""
    flags = os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)
