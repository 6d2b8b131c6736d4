"""The function contract: what a function declares, and the two calls a node makes."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from acceleratorAPI.drivers.base import FolderSource, Measurement, Source, Target
from acceleratorAPI.errors import InputError, ParameterError, nearest
from acceleratorAPI.protocol.cards import Card


class Parameters(BaseModel):
    """Base of a function's parameters. Each field has a type, a default or none, and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Python and pydantic take ``True`` for 1."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and int in (kinds := (kind, *get_args(kind))) and bool not in kinds:
            raise ValueError("use a number, not true or false")
        return value


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
            A key ``warning`` is shown to the user.
        has_output: whether this job gave a file. ``False`` only where the card's ``output`` is ``optional``: what
            was written to the target is then dropped, and the user's file stays as it was.
    """

    measurement: Measurement
    specific: Mapping[str, Any] = field(default_factory=dict)
    has_output: bool = True


class Function(ABC, Generic[ConfigureT, ProcessT]):
    """One accelerated operation, in one worker process.

    In each worker process a node makes one object per configuration, calls ``configure`` once and then ``process``
    or ``process_folder`` once a job, never two at the same time. All may raise any ``AcceleratorError``; other
    exceptions are reported as a failure of the function.

    Jobs of one configuration may run in several workers, and a worker may die: what one job leaves for the next
    belongs in ``scratch``.

    A third party's package adds a function by an entry point of the group ``acceleratorAPI.functions``
    whose name is the function's and whose object is the class.
    """

    card: ClassVar[Card]
    configure_parameters: ClassVar[type[Parameters]] = NoParameters
    process_parameters: ClassVar[type[Parameters]] = NoParameters

    def __init__(self, threads: int) -> None:
        """Args:
        threads: how many cores one job may use at once, at least 1.

        Before each ``process``, ``job`` is set to a name of the job that is the same when it begins again after a
        crash: what a function with a scratch folder has done already, it can then tell.
        """
        self.threads = threads
        self._scratch: Path | None = None
        self.job = ""

    @property
    def scratch(self) -> Path:
        """A folder for what jobs of one configuration leave for each other.

        The node's workers share it: lock what two jobs may touch at once. It outlives a worker's crash and a restart
        of the node, and goes with the configuration. Without a node it lives as long as this object.
        """
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="acceleratorapi-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._scratch

    @scratch.setter
    def scratch(self, folder: Path) -> None:
        self._scratch = folder

    def configure(self, parameters: ConfigureT, datafile: Path | None) -> Mapping[str, Any]:
        """Make ready for ``process``, once in each worker that gets a job of the configuration.

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
            source: the input, or ``None`` when the card says that the function takes no file. What is known of it
                besides its bytes, its name above all, is in ``inputs.source_info(source)``.
            target: the output, or ``None`` when the card says that the function gives no file.
            parameters: already checked against ``process_parameters``.
        """

    def process_folder(self, source: FolderSource, target: Target | None, parameters: ProcessT) -> Outcome:
        """Do the job for a folder, when the card says that the function takes one.

        Args:
            source: the folder as a tar stream: below the folder's own name, sorted by path byte for byte.
                ``inputs.source_info(source)`` knows that name.
            target: as for ``process``.
            parameters: as for ``process``.

        Raises:
            InputError: the function takes none.
        """
        raise InputError(f"{self.card.name}: takes no folder; name a file in it")


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
        said = first["msg"].removeprefix("Value error, ")  # pydantic's words, before a validator's own
        raise ParameterError(f"{function}: parameter {name!r} = {first['input']!r}: {said}") from None
