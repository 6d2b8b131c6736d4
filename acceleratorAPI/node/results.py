"""The ``app`` object of answers: what a worker reports, in the words v1.0 clients read."""

from __future__ import annotations

from typing import Any

from acceleratorAPI.protocol.records import App

SUCCESS = "RESULT: ==> SUCCESS <==\n"
_METERED = "SUCCESSFULLY ACTIVATED"
_NOT_METERED = "NOT ACTIVATED: no store is configured"


def metering(*, metered: bool) -> str:
    """Whether what was done is counted by a store, in the words v1.0 clients know."""
    return _METERED if metered else _NOT_METERED


def configured(answer: dict[str, Any], *, metered: bool) -> App:
    """A configuration that worked."""
    specific = dict(answer["specific"])
    warning = specific.get("warning")
    details = {"elapsedTime": answer["elapsed_s"]}
    return App(
        status=0,
        msg=f"WARN: {warning}\n{SUCCESS}" if warning else SUCCESS,
        specific={"Metering": metering(metered=metered), "details": details, **specific},
    )


def processed(answer: dict[str, Any], *, legacy_profiling: bool, metered: bool) -> App:
    """A job that succeeded. Figures are the kernel's: bandwidth x time = bytes."""
    kernel_s, bytes_in, bytes_out = answer["kernel_s"], answer["bytes_in"], answer["bytes_out"]
    moved = bytes_in + bytes_out
    profiling = {
        "backend": answer["backend"],
        "wall-clock-time": answer["wall_s"],
        "kernel-time": kernel_s,
        "R+W bandwidth (in MB/s)": moved / kernel_s / 1e6 if kernel_s > 0 else 0.0,
        "total-bytes-written": bytes_in,
        "total-bytes-read": bytes_out,
        "Total bytes transferred": f"{moved / 1e6:.1f} MB",
    }
    if legacy_profiling:
        profiling["fpga-elapsed-time"] = kernel_s
        profiling["hw_statistics"] = "no FPGA: CPU kernel"
    specific = {**answer["specific"], "Metering": metering(metered=metered)}
    return App(status=0, msg=SUCCESS, specific=specific, profiling=profiling)


def failed(message: str) -> App:
    """Whatever did not work."""
    return App(status=-1, msg=message)
