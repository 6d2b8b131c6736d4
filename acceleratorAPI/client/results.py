"""What ``start``, ``process`` and ``stop`` answer, and how far a job is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from acceleratorAPI.protocol.stop import StopMode

Phase = Literal["upload", "compute", "download"]


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far one job is.

    Attributes:
        source: the input, as the caller named it.
        phase: ``upload`` and ``download`` are left out when the node uses the files in place.
        bytes_done: of this phase.
        bytes_total: of this phase; ``None`` when nobody knows.
    """

    source: str
    phase: Phase
    bytes_done: int
    bytes_total: int | None


@dataclass(frozen=True, slots=True)
class StartResult:
    """A configured accelerator.

    Attributes:
        accelerator: the function's name.
        instance_id: ``None`` for a node known by its address alone.
        url_instance: of the node.
        url_config: of the configuration in use.
        reused: the node was configured already.
        specific: the function's own answers.
        message: the node's, one line.
        elapsed_s: of the whole ``start``.
    """

    accelerator: str
    instance_id: str | None
    url_instance: str
    url_config: str
    reused: bool
    specific: Mapping[str, Any]
    message: str
    elapsed_s: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        where = f"{self.instance_id} at {self.url_instance}" if self.instance_id else self.url_instance
        verb = "already configured" if self.reused else "ready"
        notes = "; ".join(f"{key}: {value}" for key, value in self.specific.items() if key == "warning")
        return f"{self.accelerator} {verb} on {where} in {self.elapsed_s:.2f} s" + (f" ({notes})" if notes else "")


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """One processed input.

    Attributes:
        accelerator: the function's name.
        source: the input, as the caller named it; empty when there was none.
        destination: where the output went; empty when it is in ``data`` or this job gave none.
        bytes_in: that the function read.
        bytes_out: that the function wrote.
        backend: the driver's name.
        kernel_s: seconds the function computed.
        elapsed_s: seconds of the whole ``process``.
        specific: the function's own answers (a digest, a count).
        profiling: the node's figures as they came.
        message: the node's, one line.
        data: the output, when no destination was given and the function gives one.
    """

    accelerator: str
    source: str
    destination: str
    bytes_in: int
    bytes_out: int
    backend: str
    kernel_s: float
    elapsed_s: float
    specific: Mapping[str, Any]
    profiling: Mapping[str, Any]
    message: str
    data: bytes | None = field(default=None, repr=False)

    @property
    def bandwidth_mb_s(self) -> float:
        """Bytes read and written over the seconds the function computed, in 1e6 bytes a second."""
        return (self.bytes_in + self.bytes_out) / self.kernel_s / 1e6 if self.kernel_s > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON values; without ``data``."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "data"}

    def __str__(self) -> str:
        sizes = f"{size_text(self.bytes_in)} -> {size_text(self.bytes_out)}"
        where = f" to {self.destination}" if self.destination else ""
        speed = f", {self.backend} {self.bandwidth_mb_s:.0f} MB/s" if self.kernel_s > 0 else ""
        warning = f" (warning: {self.specific['warning']})" if "warning" in self.specific else ""
        return f"{self.accelerator}: {sizes}{where} in {self.elapsed_s:.2f} s{speed}{warning}"


@dataclass(frozen=True, slots=True)
class StopResult:
    """What became of the instance.

    Attributes:
        stop_mode: ``None`` when nothing was running.
        instance_id: ``None`` for a node known by its address alone.
        specific: the node's own answers.
        message: one line.
    """

    stop_mode: StopMode | None
    instance_id: str | None
    specific: Mapping[str, Any]
    message: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "stop_mode": self.stop_mode.name if self.stop_mode is not None else None}

    def __str__(self) -> str:
        if self.stop_mode is not StopMode.STOP or self.instance_id is None:
            return self.message
        return f"{self.message}; use it again with instance_id={self.instance_id!r}"


def size_text(size_bytes: int) -> str:
    """A size for a person, in decimal units: ``6.6 MB``."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
