"""How long and how much the node waits for and reads of a peer that may mean it no good. Figures only."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

# What the node needs besides connections: database, spool files, workers, libraries.
_OWN_DESCRIPTORS = 256
_WANTED_DESCRIPTORS = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one node. There is none on the size of a file or on the time a request takes.

    Attributes:
        head_s: from a connection, or the first byte of its next request, to the end of that request's head.
        idle_s: a connection may wait that long for its next request.
        head_bytes: of a request line with its fields.
        fields: how many fields a head may have.
        pipelined: how many requests of one connection may wait for the answer to the first.
        connections: at the same time.
        body_idle_s: without a byte of a body that is read.
        body_rate: bytes a second a body must bring on average, 0 for any; only waiting for the client counts.
        body_rate_after_s: the average counts after so much waiting.
        unread_s: how long a body is passed over after its request was answered.
        answer_idle_s: without a byte of an answer that the client takes.
        linger_s: how long a refused connection stays half open, for the refusal to be read.
        document_bytes: of a JSON body.
    """

    head_s: float = 10.0
    idle_s: float = 75.0
    head_bytes: int = 32 * 1024
    fields: int = 100
    pipelined: int = 16
    connections: int = 4096
    body_idle_s: float = 30.0
    body_rate: int = 1024
    body_rate_after_s: float = 60.0
    unread_s: float = 30.0
    answer_idle_s: float = 60.0
    linger_s: float = 2.0
    document_bytes: int = 1 << 20


DEFAULTS = Limits()


def usable_connections(wanted: int) -> int:
    """How many of the ``wanted`` connections this process has descriptors for, after asking for as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _WANTED_DESCRIPTORS)
    if soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return max(16, min(wanted, soft - _OWN_DESCRIPTORS))
