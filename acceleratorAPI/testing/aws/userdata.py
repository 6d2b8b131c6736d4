"""User data as cloud-init reads it: gzip, MIME parts, scripts of the first boot and of every boot."""

from __future__ import annotations

import email
import gzip
from dataclasses import dataclass
from typing import Literal

_GZIP = b"\x1f\x8b"
_EVERY_BOOT = ("text/cloud-boothook", "text/x-shellscript-per-boot")
_ONCE = ("text/x-shellscript", "text/x-shellscript-per-instance", "text/x-shellscript-per-once")


@dataclass(frozen=True, slots=True)
class Script:
    """A part of the user data that is run.

    Attributes:
        phase: ``early`` is before the units of the boot, ``late`` after them.
        every_boot: not only at the first one.
    """

    text: bytes
    phase: Literal["early", "late"]
    every_boot: bool


def scripts(user_data: bytes) -> list[Script]:
    """The scripts in ``user_data``, in order; what else is in it, cloud-config foremost, is not run."""
    data = gzip.decompress(user_data) if user_data.startswith(_GZIP) else user_data
    message = email.message_from_bytes(data)
    if not data.startswith((b"#", b"\n")) and message.is_multipart():
        parts = [part for part in message.walk() if not part.is_multipart()]
        return [s for p in parts if (s := _script(p.get_content_type(), p.get_payload(decode=True) or b""))]  # type: ignore[arg-type]
    script = _script("", data)
    return [script] if script else []


def _script(kind: str, text: bytes) -> Script | None:
    if text.startswith(_GZIP):
        text = gzip.decompress(text)
    if text.startswith(b"#cloud-boothook") or kind in _EVERY_BOOT:
        return Script(_with_shell(text), "late" if kind == _EVERY_BOOT[1] else "early", True)
    if text.startswith(b"#!") or kind in _ONCE:
        return Script(_with_shell(text), "late", False)
    return None


def _with_shell(text: bytes) -> bytes:
    return text if text.startswith(b"#!") else b"#!/bin/sh\n" + text
