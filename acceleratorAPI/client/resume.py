"""When a job keeps something beside its output (see ``keep``), and how a later process goes on with it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any

from acceleratorAPI.client.fetch import Sink
from acceleratorAPI.client.keep import Call, Keep, Record
from acceleratorAPI.client.pace import PIECE_BYTES
from acceleratorAPI.client.session import Session
from acceleratorAPI.client.transfer import Input, Reader
from acceleratorAPI.client.upload import Upload, crc32c_of_start
from acceleratorAPI.errors import AcceleratorError, NodeUnreachableError
from acceleratorAPI.protocol.records import JobRecord, JobRequest
from acceleratorAPI.protocol.stop import StopMode

_log = logging.getLogger(__name__)

_SAVE_EVERY_BYTES = 64 << 20


class Resumption:
    """Of one call of ``process``.

    Attributes:
        keep: what is kept, if anything.
    """

    def __init__(self, session: Session, call: Call | None, output: str | None) -> None:
        """Args:
        session: whose job it is.
        call: which; ``None`` when it cannot be gone on with.
        output: the output's path.
        """
        self._session = session
        self._call = call
        self._output = output
        self.keep: Keep | None = None
        self._key = secrets.token_hex(16)
        self._saved = 0

    @property
    def key(self) -> str:
        """The job's ``Idempotency-Key``."""
        return self.keep.record.key if self.keep is not None else self._key

    def begin(self, size_bytes: int | None) -> None:
        """Keep something from now on if there is much to send, or something is there already."""
        if self._output is not None and ((size_bytes or 0) > PIECE_BYTES or Keep.left(os.path.realpath(self._output))):
            self._open()

    def take_up(
        self, wanted: JobRequest, new_upload: Callable[[], Upload], reader: Reader | None
    ) -> tuple[Upload | None, JobRecord] | None:
        """The upload, as far as it is still to be sent, and the job an earlier process began.

        Args:
            wanted: the job.
            new_upload: makes one of this input.
            reader: the input's.

        Raises:
            NodeUnreachableError: the node cannot be asked.
        """
        if self.keep is None:
            return None
        if self.keep.taken_up:
            found = self._found(wanted, new_upload, reader)
            if found is not None:
                _log.info("%s: taken up where job %s stands", self._output, found[1].id)
                return found
            self.keep.start_over("the node does not have it any more, or it was another input")
            if reader is not None:
                reader.seek(0)  # type: ignore[attr-defined]  # of a regular file
        if self.keep.forgotten is not None:
            self._drop(self.keep.forgotten)
        return None

    def _drop(self, record: Record) -> None:
        """Nobody will go on with it: its job must not wait for the rest of its input."""
        if self._call is None or record.call.node != self._call.node:
            return
        if record.job:
            self._session.drop_job(record.job)
        if record.upload:
            with contextlib.suppress(AcceleratorError):
                self._session.node.remove_upload(record.upload)

    def _found(
        self, wanted: JobRequest, new_upload: Callable[[], Upload], reader: Reader | None
    ) -> tuple[Upload | None, JobRecord] | None:
        assert self.keep is not None
        record, node = self.keep.record, self._session.node
        upload: Upload | None = None
        if reader is not None:
            upload = new_upload()
            if not record.upload or not upload.take_up(record.upload):
                size_bytes = record.call.size_bytes or 0
                if record.input_crc32c is None or crc32c_of_start(reader, size_bytes) != record.input_crc32c:
                    return None
                upload = None
        try:
            if record.job:
                return upload, node.job(record.job, 0)
            if upload is None:
                return None
            # Word for word what the earlier process asked for, or was about to: there will be one job.
            same = {"configuration": record.call.configuration, "upload": record.upload}
            return upload, node.begin_job(wanted.model_copy(update=same), record.key)
        except NodeUnreachableError:
            raise
        except AcceleratorError:
            return None

    def note_upload(self, upload: Upload) -> None:
        """The upload is begun, and its job is about to be."""
        if self.keep is not None:
            self.keep.record.upload = upload.url
            self.keep.save()

    def note_job(self, record: JobRecord, upload: Upload | None) -> None:
        """The job is begun; from now on keep something if it takes a while or gives much."""
        large = record.result is not None and record.result.size_bytes > PIECE_BYTES
        if self.keep is None and (large or not record.ended):
            self._open()
        if self.keep is not None:
            self.keep.record.job = record.id
            if upload is not None:
                self.keep.record.upload = upload.url
            self.note_input(upload)

    def note_input(self, upload: Upload | None) -> None:
        """The node has so much of the input, perhaps all."""
        if self.keep is not None:
            if upload is not None and upload.complete:
                self.keep.record.input_crc32c = upload.crc32c
            self.keep.save()

    def sink(self) -> Sink:
        """Where the output goes."""
        assert self.keep is not None
        file = self.keep.file
        return Sink(file, self.keep.received(), self.keep.empty, file.fileno(), self._sure)

    def leaves(self, error: BaseException | None) -> bool:
        """Whether what was done until ``error`` is kept, at the node and here."""
        return self.keep is not None and isinstance(error, NodeUnreachableError) and not self._session.ended

    def unless_left(self, action: Callable[[], object]) -> Callable[..., None]:
        """For the end of a block: do ``action``, unless a later process is to go on."""

        def end(_: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
            if not self.leaves(error):
                action()

        return end

    def end(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """The end of the block in which something is kept.

        Raises:
            NodeUnreachableError: as it came, with what can be done about it.
        """
        if self.keep is None:
            return
        if not self.leaves(error):
            self.keep.remove()
            return
        self.keep.leave()
        raise NodeUnreachableError(f"{error}; what was done is kept: the same call goes on from there") from error

    def _open(self) -> None:
        if self._call is not None and self._output is not None:
            self.keep = Keep.open(self._output, self._call)

    def _sure(self, received: int) -> None:
        assert self.keep is not None
        record = self.keep.record
        if record.received is None or received - record.received >= _SAVE_EVERY_BYTES:
            record.received = received
            self.keep.save()


def the_call(session: Session, wanted: JobRequest, source: Input | None) -> Call | None:
    """What this call is known by later; ``None`` when no later process could go on with it.

    A node that ends with its client takes everything with it; other inputs than files cannot be read again.
    """
    if session.stop_mode is not StopMode.KEEP or wanted.target is not None or wanted.source is not None:
        return None
    size_bytes = mtime_ns = None
    if source is not None:
        if not source.is_regular_file or source.path is None:
            return None
        status = os.stat(source.path)
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    request = [session.accelerator, wanted.parameters]
    return Call(
        node=session.instance_id or session.node.url,
        request=digest(session, request),
        configuration=wanted.configuration or "",
        configured=session.configured,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
    )


def digest(session: Session, values: Any) -> str:
    """What tells ``values`` from others and does not tell them: parameters may be secrets."""
    return session.node.sign(json.dumps(values, sort_keys=True, default=str).encode())
