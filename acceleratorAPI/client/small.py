"""Inputs so small that they travel, and their outputs come back, in one request."""

from __future__ import annotations

import json

from acceleratorAPI.client.transfer import Reader
from acceleratorAPI.errors import FileAccessError, InputError
from acceleratorAPI.protocol.records import JobRequest

SMALL_BYTES = 1 << 20
# What is larger takes so long itself that going with others, or to a node that could read it in place, gains little.
LITTLE_BYTES = 128 << 10
# Of the function's parameters, which travel in the head of the request.
_PARAMETER_BYTES = 8 << 10
# Longer jobs are followed, and can be cancelled, by their id.
RUN_WAIT_S = 0.5
# Of several in one request: it takes longer to go for them one by one than to wait a little more.
BATCH_WAIT_S = 2.0


def is_small(wanted: JobRequest, size_bytes: int | None) -> bool:
    """Whether a job with an input of that size is one request."""
    if size_bytes is None or size_bytes > SMALL_BYTES or wanted.source is not None or wanted.target is not None:
        return False
    return not wanted.folder and len(json.dumps(wanted.parameters)) <= _PARAMETER_BYTES


def read_whole(reader: Reader, size_bytes: int) -> bytes:
    """All of a small input.

    Raises:
        FileAccessError: it cannot be read.
        InputError: it is text, non-blocking or shorter than it was.
    """
    parts: list[bytes] = []
    left = size_bytes
    while left:
        try:
            part = reader.read(left)
        except OSError as error:
            raise FileAccessError(f"cannot read the input: {error.strerror or error}") from error
        if isinstance(part, str):
            raise InputError("the input file is open as text: open it in binary mode, 'rb'")
        if part is None:
            raise InputError("the input file is non-blocking and has no data: make it blocking")
        if not part:
            raise InputError(f"the input shrank while it was read: {size_bytes - left} of {size_bytes} bytes")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
