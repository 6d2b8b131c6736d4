"""The provider contract: a few verbs without state of their own, and the records they answer with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import InstanceError
from acceleratorAPI.protocol.stop import StopMode

Status = Literal["starting", "running", "stopped"]


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What is asked of ``create``; where and how big, a provider takes from its configuration.

    Attributes:
        accelerator: the function the node answers with when a client names none.
        owner_pid: the process of this machine whose end is the instance's end, until ``mark`` says otherwise.
        needs: what the store's catalogue says the function needs, by region: ``image``, ``instancetype``,
            ``fpgaimage``. It counts where the configuration says nothing.
    """

    accelerator: str
    owner_pid: int
    needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine, as its provider sees it now.

    Attributes:
        id: unique for the provider.
        provider: the provider's name.
        accelerator: the function it was made for.
        status: an instance without a node that answers is not ``running``.
        url: of its node; empty while there is none.
        created: ISO 8601, UTC.
        stop_mode: what becomes of it when its user is gone.
        shares_files: the node sees the files of this machine under the same paths.
        token: opens the node; never printed.
        fingerprint: SHA-256 of the node's certificate, in hex, when it speaks TLS with one made for it.
        lease_s: it ends so many seconds after the last renewal; 0 when its life hangs on no lease in seconds.
        keep_s: the same while its stop mode is KEEP.
        usd_per_hour: what it costs while it runs; 0 when nobody is charged, or nobody knows.
        fpga_image: id of the FPGA image it was made for, which its node is told; empty for none.
        details: more for a person: where, what kind, since when, how long.
    """

    id: str
    provider: str
    accelerator: str
    status: Status
    url: str
    created: str
    stop_mode: StopMode
    shares_files: bool = False
    token: str = field(default="", repr=False)
    fingerprint: str = ""
    lease_s: float = 0.0
    keep_s: float = 0.0
    usd_per_hour: float = 0.0
    fpga_image: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON values for a person or program; without the token."""
        return {
            "id": self.id,
            "provider": self.provider,
            "accelerator": self.accelerator,
            "status": self.status,
            "url": self.url,
            "created": self.created,
            "stop_mode": self.stop_mode.name,
            **self.details,
        }


class Provider(ABC):
    """Makes, finds and ends instances. All state is where the instances are, so any process may take over.

    A third party's package adds a provider by an entry point of the group ``acceleratorAPI.providers``
    whose name is the provider's and whose object is the class.
    """

    name: ClassVar[str]
    # Whether it makes use of `InstanceSpec.needs`, which cost a request to the store.
    has_needs: ClassVar[bool] = False

    def __init__(self, configuration: Configuration) -> None:
        """Take the settings that concern it; nothing is contacted yet."""
        self.configuration = configuration

    @abstractmethod
    def create(self, spec: InstanceSpec) -> Instance:
        """Make an instance and wait until its node answers; when that fails, nothing is left.

        Raises:
            FunctionUnknownError: the node would not have that function.
            InstanceError: it could not be made.
        """

    @abstractmethod
    def instances(self) -> list[Instance]:
        """All instances of this user, oldest first."""

    @abstractmethod
    def find(self, *, instance_id: str | None = None, address: str | None = None) -> Instance:
        """The instance of that id, or the one whose node is at that address (host, host:port or URL).

        Raises:
            InstanceNotFoundError: there is none.
            InstanceError: the address fits several.
        """

    @abstractmethod
    def start(self, instance: Instance, owner_pid: int) -> Instance:
        """Run a stopped instance again and wait until its node answers; a running one is answered as it is."""

    @abstractmethod
    def stop(self, instance: Instance) -> None:
        """End the machine, keep its state. Done already is fine."""

    @abstractmethod
    def terminate(self, instance: Instance) -> None:
        """End the machine and remove its state. Done already is fine."""

    @abstractmethod
    def mark(self, instance: Instance, stop_mode: StopMode) -> None:
        """Record what is to become of the instance when its user is gone."""

    def diagnose(self, instance: Instance) -> str:
        """Why the instance's node may not answer, as the end of an error message; empty when nothing is known."""
        return ""

    def renewed(self, instance: Instance, lives_s: float) -> None:
        """Told now and then that its lease was renewed for ``lives_s`` seconds. It may be called in any thread."""
        return

    def bill(self, instance: Instance) -> str:
        """What its life has cost, for a person; empty when it costs nothing or nobody knows."""
        return ""

    def reap(self, *, dry_run: bool) -> list[str]:
        """End and undo what was left behind by processes that are gone; what that was, or would be, a line each."""
        return []

    def connection(self, instance: Instance) -> str:
        """The command that opens a shell on it.

        Raises:
            InstanceError: there is none.
        """
        raise InstanceError(f"{instance.id} is no machine to connect to")

    def log(self, instance: Instance) -> str:
        """What the machine wrote while it booted and set itself up; empty when there is none."""
        return ""
