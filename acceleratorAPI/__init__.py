"""acceleratorAPI: test and operate hardware-accelerated functions.

The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acceleratorAPI.client.accelerator import Accelerator
    from acceleratorAPI.client.results import ProcessResult, StartResult, StopResult, TransferProgress
    from acceleratorAPI.errors import AcceleratorError
    from acceleratorAPI.protocol.stop import StopMode

    __version__: str

_HOMES = {
    "Accelerator": "acceleratorAPI.client.accelerator",
    "AcceleratorError": "acceleratorAPI.errors",
    "ProcessResult": "acceleratorAPI.client.results",
    "StartResult": "acceleratorAPI.client.results",
    "StopMode": "acceleratorAPI.protocol.stop",
    "StopResult": "acceleratorAPI.client.results",
    "TransferProgress": "acceleratorAPI.client.results",
}

__all__ = [
    "Accelerator",
    "AcceleratorError",
    "ProcessResult",
    "StartResult",
    "StopMode",
    "StopResult",
    "TransferProgress",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("acceleratorAPI")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
