"""The function contract: what a function declares, and the two calls a node makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from acceleratorAPI.drivers.base import Measurement, Source, Target
from acceleratorAPI.errors import ParameterError, nearest
from acceleratorAPI.protocol.cards import Card


class Parameters(BaseModel):
    """Base of a function's parameters. Each field has a type, a default or none, and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class NoParameters(Parameters):
    """For a call that takes none."""


ConfigureT = TypeVar("ConfigureT", bound=Parameters)
ProcessT = TypeVar("ProcessT", bound=Parameters)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one ``process`` did.

    Attributes:
        measurement: the driver's figures.
        specific: the function's own answers (a digest, a count), JSON values; they become ``app.specific``.
    """

    measurement: Measurement
    specific: Mapping[str, Any] = field(default_factory=dict)


class Function(ABC, Generic[ConfigureT, ProcessT]):
    """One accelerated operation, in one worker process.

    A node makes one object per configuration, calls ``configure`` once and then ``process`` once a job,
    never two at the same time. Both may raise any ``AcceleratorError``; other exceptions are reported as
    a failure of the function.

    A third party's package adds a function by an entry point of the group ``acceleratorAPI.functions``
    whose name is the function's and whose object is the class.
    """

    card: ClassVar[Card]
    configure_parameters: ClassVar[type[Parameters]] = NoParameters
    process_parameters: ClassVar[type[Parameters]] = NoParameters

    def __init__(self, threads: int) -> None:
        """Args:
        threads: how many cores one job may use at once, at least 1.
        """
        self.threads = threads

    def configure(self, parameters: ConfigureT, datafile: Path | None) -> Mapping[str, Any]:
        """Make ready for ``process``.

        Args:
            parameters: already checked against ``configure_parameters``.
            datafile: the configuration file, when the card says that the function takes one.

        Returns:
            What ``start`` answers in ``app.specific``. A key ``warning`` is shown to the user.
        """
        return {}

    @abstractmethod
    def process(self, source: Source | None, target: Target | None, parameters: ProcessT) -> Outcome:
        """Do the job, in bounded memory: start on the first bytes, never hold the file.

        Args:
            source: the input, or ``None`` when the card says that the function takes no file.
            target: the output, or ``None`` when the card says that the function gives no file.
            parameters: already checked against ``process_parameters``.
        """


def check_parameters(model: type[Parameters], values: Mapping[str, Any], function: str) -> Parameters:
    """``values`` as a ``model``, above any driver.

    Raises:
        ParameterError: names the first wrong field, its value and what is allowed.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt name first: it explains the one that is missing.
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(name, model.model_fields) if model.model_fields else "it takes none"
            raise ParameterError(f"{function}: unknown parameter {name!r}; {hint}") from None
        if first["type"] == "missing":
            raise ParameterError(f"{function}: parameter {name!r} is required") from None
        raise ParameterError(f"{function}: parameter {name!r} = {first['input']!r}: {first['msg']}") from None
