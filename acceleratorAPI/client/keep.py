"""What a job keeps beside its output while it runs, so that the same call of a later process goes on where it was.

``.OUTPUT.acceleratorapi-part`` is the output so far, ``.OUTPUT.acceleratorapi-job`` says of which job. Both go when the
job is over. The part is locked by the process that works on it, so that no two do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import threading
from io import FileIO
from pathlib import Path

from crc32c import crc32c
from pydantic import BaseModel, ConfigDict, ValidationError

from acceleratorAPI.client.transfer import CHUNK_BYTES
from acceleratorAPI.files import access_error

_log = logging.getLogger(__name__)

_LONGEST_NAME = 200


class Call(BaseModel):
    """What makes two calls of ``process`` the same, besides the output.

    Attributes:
        node: instance or URL.
        request: digest of function and parameters.
        configuration: its URL.
        configured: digest of what the function was configured with; empty when that is not known.
        size_bytes: of the input, ``None`` without one.
        mtime_ns: when the input was last written.
    """

    model_config = ConfigDict(strict=True)

    node: str
    request: str
    configuration: str
    configured: str
    size_bytes: int | None
    mtime_ns: int | None

    def differs(self, other: Call) -> str:
        """What is not the same, empty when it is the same call."""
        if (self.size_bytes, self.mtime_ns) != (other.size_bytes, other.mtime_ns):
            return "the input has changed"
        if self.node != other.node or self.request != other.request:
            return "it was another node, function or parameter"
        same = self.configuration == other.configuration or self.configured == other.configured != ""
        return "" if same else "the function was configured anew"


class Record(BaseModel):
    """The file beside the output. No secret is in it.

    Attributes:
        call: whose job it is.
        key: the job's ``Idempotency-Key``.
        upload: URL of the input at the node.
        input_crc32c: of the input, once it is all there.
        job: its id.
        received: bytes of the part that are sure, when it is written in several places; else all are.
    """

    model_config = ConfigDict(strict=True)

    call: Call
    key: str
    upload: str = ""
    input_crc32c: int | None = None
    job: str = ""
    received: int | None = None


class Keep:
    """The two files of one output, held by this process.

    Attributes:
        record: as it is on the disk, once saved.
        file: the part.
        taken_up: the record is one of an earlier process.
        forgotten: one that was not taken up.
    """

    def __init__(self, output: str, file: FileIO, call: Call) -> None:
        """Hold ``file``, the locked part of ``output``; ``open`` makes it."""
        self._output = Path(os.path.realpath(output))
        self.file = file
        self.record = Record(call=call, key=secrets.token_hex(16))
        # The fetching thread finishes while the sending one may still have something to put down.
        self._lock = threading.Lock()
        self.forgotten: Record | None = None
        self.taken_up = self._take_up(call)

    @classmethod
    def open(cls, output: str, call: Call) -> Keep | None:
        """The files of ``output``; ``None`` when another process is at it, or the file system has no locks.

        Raises:
            FileAccessError: they cannot be made.
        """
        path = _beside(os.path.realpath(output), "part")
        # Nobody may read a part who may not read the output it replaces.
        mode = os.stat(output).st_mode & 0o777 if os.path.exists(output) else 0o666
        while True:
            try:
                file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode), "r+b")
            except OSError as error:
                raise access_error("write", output, error) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    return cls(output, file, call)
            # It became the output while we looked.
            file.close()

    @staticmethod
    def left(output: str) -> bool:
        """Whether an earlier process left something of ``output``, a path without links."""
        # Asked of every output, so without a path object.
        return os.path.exists(_name_beside(output, "job"))

    def save(self) -> None:
        """Put the record down, as it is now; when the output is finished, there is none any more."""
        with self._lock:
            if not self.file.closed:
                self._save()

    def _save(self) -> None:
        path = _beside(self._output, "job")
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(self.record.model_dump_json(indent=1))
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise access_error("write", path, error) from error

    def start_over(self, why: str) -> None:
        """Forget what an earlier process left."""
        _log.warning("%s: not taken up, begun anew: %s", self._output, why)
        _beside(self._output, "job").unlink(missing_ok=True)
        self.forgotten = self.record
        self.record = Record(call=self.record.call, key=secrets.token_hex(16))
        self.taken_up = False
        self.empty()

    def empty(self) -> None:
        """Throw the output so far away."""
        self.file.seek(0)
        self.file.truncate()
        self.record.received = None

    def received(self) -> tuple[int, int]:
        """How many bytes of the output are here, and their CRC32C; the part is cut to these and stands there."""
        size = os.fstat(self.file.fileno()).st_size
        if self.record.received is not None:
            size = min(size, self.record.received)
        self.file.truncate(size)
        self.file.seek(0)
        crc = 0
        while data := self.file.read(CHUNK_BYTES):
            crc = crc32c(data, crc)
        return size, crc

    def finish(self) -> None:
        """The part becomes the output.

        Raises:
            FileAccessError: it cannot.
        """
        mode = self._output.stat().st_mode & 0o7777 if self._output.exists() else None
        with self._lock:
            try:
                if mode is not None:
                    os.fchmod(self.file.fileno(), mode)
                os.replace(_beside(self._output, "part"), self._output)
            except OSError as error:
                raise access_error("write", self._output, error) from error
            # In this order: a record alone does no harm, a part alone is for nobody.
            _beside(self._output, "job").unlink(missing_ok=True)
            self.file.close()

    def remove(self) -> None:
        """Leave nothing."""
        if not self.file.closed:
            _beside(self._output, "job").unlink(missing_ok=True)
            _beside(self._output, "part").unlink(missing_ok=True)
            self.file.close()

    def leave(self) -> None:
        """Let a later process go on."""
        self.file.close()

    def _take_up(self, call: Call) -> bool:
        path = _beside(self._output, "job")
        try:
            found = Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            self.empty()
            return False
        except (OSError, ValidationError, json.JSONDecodeError):
            self.start_over("its record cannot be read")
            return False
        why = found.call.differs(call)
        self.record = found
        if why:
            self.start_over(why)
            self.record.call = call
            return False
        return True


def _beside(output: str | Path, what: str) -> Path:
    return Path(_name_beside(output, what))


def _name_beside(output: str | Path, what: str) -> str:
    folder, name = os.path.split(output)
    # A name's length is limited in bytes.
    name = os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])
    return os.path.join(folder, f".{name}.acceleratorapi-{what}")
