"""Instances on a host that gives no namespaces: their paths and addresses are written into their scripts instead."""

from __future__ import annotations

import re
from pathlib import Path

from acceleratorAPI.testing.aws.guest.root import PROGRAMS

METADATA_PORT = 8169
# What belongs to the instance's users and kernel, of which it has none of its own here.
NOTHING = ("useradd", "groupadd", "usermod", "chown", "chgrp", "sysctl", "hostname", "hostnamectl")
_FOLDERS = re.compile(
    rb"(?<![\w.\-/$}:])/(etc|opt|var|srv|root|home|run|tmp|dev/console|proc/uptime|proc/sysrq-trigger)(?![\w.\-])"
)
_PROGRAMS = re.compile(rb"(?<![\w.\-])/(?:usr/)?s?bin/(" + "|".join((*PROGRAMS, *NOTHING)).encode() + rb")(?![\w.\-])")


def rewrite(text: bytes, folder: Path, address: str) -> bytes:
    """A script or unit file with the instance's own paths, programs and address in the place of the host's.

    Args:
        text: as the user wrote it.
        folder: of the instance, with ``disk`` and ``programs`` in it.
        address: its own, of the loopback.
    """
    disk, programs = str(folder / "disk").encode(), str(folder / "programs/bin").encode()
    text = _PROGRAMS.sub(lambda found: programs + b"/" + found[1], text)
    text = _FOLDERS.sub(lambda found: disk + b"/" + found[1], text)
    text = text.replace(b"169.254.169.254", f"{address}:{METADATA_PORT}".encode())
    return text.replace(b"0.0.0.0", address.encode())
