"""``with AwsCloud() as cloud:`` an AWS on this machine's loopback, for tests; everything in it ends with the block."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from acceleratorAPI.errors import ConfigurationError, InputError
from acceleratorAPI.testing.aws.calls import Call
from acceleratorAPI.testing.aws.faults import Fault
from acceleratorAPI.testing.aws.machine import Isolation

_ENDS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class EmulatedInstance:
    """An instance as the emulator, not the API, knows it.

    Attributes:
        state: as DescribeInstances says it.
        processes: how many of its processes there are on this host.
        ready: its first process runs.
        impaired: it went off without a shutdown.
        folder: on this host: ``console.log``, and ``disk`` with what the instance wrote.
    """

    id: str
    region: str
    zone: str
    type: str
    state: str
    public_ip: str | None
    private_ip: str
    tags: dict[str, str]
    lifecycle: str
    processes: int
    ready: bool
    impaired: bool
    folder: str


class AwsCloud:
    """An emulated AWS.

    Args:
        port: of the endpoint; 0 takes a free one.
        time_scale: how much faster than real time the clocks of instances run.
        wheels: a folder of wheels that instances may install from, as their package index.
        reach: ports of 127.0.0.1 that instances reach at that address, as they do the cloud itself: a store's, say.
        isolation: the namespaces instances have: ``root``, ``user`` (as without root), ``none``; ``auto`` is the
            first of these that this host allows.

    Raises:
        ConfigurationError: the packages it needs are not installed.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        time_scale: float = 1.0,
        wheels: Path | None = None,
        reach: Sequence[int] = (),
        isolation: Isolation | Literal["auto"] = "auto",
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            "acceleratorAPI.testing.aws",
            f"--port={port}",
            f"--time-scale={time_scale}",
            f"--isolation={isolation}",
        ]
        if wheels is not None:
            self._command.append(f"--wheels={wheels}")
        self._command += [f"--reach={number}" for number in reach]
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def start(self) -> AwsCloud:
        """Start it; ``with`` does that."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, start_new_session=True
        )
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().decode().strip()
        if not self.endpoint:
            self.stop()
            raise ConfigurationError(
                "the emulated cloud did not start, see above; it needs: pip install 'acceleratorAPI[emulate]'"
            )
        return self

    def stop(self) -> None:
        """End it and all its instances."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> AwsCloud:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Return when the emulator has ended."""
        if self._process is not None:
            self._process.wait()

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment; the keys open nothing."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    # What tests look at.

    def calls(self, operation: str = "") -> list[Call]:
        """Every call of the API so far, or those of one operation."""
        found = [Call(**record) for record in self._ask("GET", "calls")]
        return [call for call in found if operation in ("", call.operation, call.name)]

    def instances(self, *states: str) -> list[EmulatedInstance]:
        """Every instance ever launched, or those in some states."""
        found = [EmulatedInstance(**record) for record in self._ask("GET", "instances")]
        return [instance for instance in found if not states or instance.state in states]

    def console(self, instance_id: str) -> str:
        """What the instance wrote to its console, the output of its user data included."""
        text: str = self._ask("GET", f"instances/{instance_id}/console", raw=True)
        return text

    def wait_for(self, holds: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Poll until ``holds()`` is true; its value.

        Raises:
            TimeoutError: it was not in time.
        """
        deadline = time.monotonic() + timeout_s
        while not (found := holds()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s} s; consoles: {self._consoles()}")
            time.sleep(0.02)
        return found

    def _consoles(self) -> str:
        return "\n".join(f"{i.id} {i.state}: {self.console(i.id)[-2000:]}" for i in self.instances() if i.folder)

    # What tests do.

    def plan(self, *faults: Fault) -> None:
        """Have these go wrong."""
        for fault in faults:
            self._ask("POST", "faults", fault.as_dict())

    def clear_faults(self) -> None:
        """Nothing is planned any more."""
        self._ask("DELETE", "faults")

    def settings(self, **changes: Any) -> None:
        """Change lags and limits, see ``rules.Settings``.

        Raises:
            InputError: there is no such setting.
        """
        self._ask("POST", "settings", changes)

    def reset(self) -> None:
        """End all instances and forget everything, as a new cloud."""
        self._ask("POST", "reset")

    def act(
        self,
        instance_id: str,
        action: Literal["jump", "cut", "mend", "poweroff", "crash", "interrupt", "kill"],
        **details: float | str,
    ) -> None:
        """Do something to an instance that no API does.

        Args:
            instance_id: which.
            action: ``jump`` its clock by ``seconds``; ``cut`` or ``mend`` its network; ``poweroff`` as its own
                shutdown; ``crash`` as a panic of its kernel; ``interrupt`` as spot capacity taken back after
                ``notice_s`` of its seconds; ``kill`` (SIGKILL) every process of it that has
                ``command`` in its command line.
            details: of the action.

        Raises:
            InputError: there is no machine of that instance, or no such process in it.
        """
        self._ask("POST", f"instances/{instance_id}/{action}", details)

    def _ask(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        data = json.dumps(body).encode() if body is not None else b"" if method == "POST" else None
        request = urllib.request.Request(f"{self.endpoint}/_emulator/{path}", data, method=method)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise InputError(f"emulated cloud: {path}: {error.read().decode().strip()}") from error
        return text.decode("utf-8", "replace") if raw else json.loads(text)
