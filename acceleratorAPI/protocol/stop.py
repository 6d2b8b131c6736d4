"""What becomes of an instance at the end."""

from __future__ import annotations

from enum import IntEnum

from acceleratorAPI.errors import ConfigurationError


class StopMode(IntEnum):
    """TERM deletes the instance, STOP ends it and keeps its state, KEEP leaves it running."""

    TERM = 0
    STOP = 1
    KEEP = 2

    @classmethod
    def parse(cls, value: int | str) -> StopMode:
        """``value`` as a mode: a number, or its text, or the name in any case.

        Raises:
            ConfigurationError: ``value`` is none of them.
        """
        text = str(int(value) if isinstance(value, int) else value).strip().upper()
        for mode in cls:
            if text in (mode.name, str(mode.value)):
                return mode
        raise ConfigurationError(f"stop_mode = {value!r}: use TERM (0), STOP (1) or KEEP (2)")
