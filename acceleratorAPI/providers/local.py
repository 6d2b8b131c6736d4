"""The provider LOCAL: an instance is a node that runs as a process of this machine, on the loopback address."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from acceleratorAPI.config import Configuration, state_folder
from acceleratorAPI.errors import FunctionUnknownError, InstanceError, InstanceNotFoundError, nearest
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers import processes
from acceleratorAPI.providers.base import Instance, InstanceSpec, Provider, Status
from acceleratorAPI.providers.certificates import CERTIFICATE, KEY, make_certificate
from acceleratorAPI.providers.local_state import Folders, InstanceFolder, Record
from acceleratorAPI.providers.probe import answers
from acceleratorAPI.providers.processes import ProcessId

_NODE_MODULE = "acceleratorAPI.node"
_FUNCTIONS_GROUP = "acceleratorAPI.functions"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A node answers in about a second; a machine that swaps or a cold disk may need far more.
_ANSWER_WITHIN_S = 180.0
_END_GRACE_S = 10.0
_DYING_S = 0.5
# What a node needs to open the URLs of a scheme.
_URL_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_BODY_IDLE_S = 24 * 3600


class LocalProvider(Provider):
    """Nodes of this machine. Their folders are the only state, so every process of the user sees the same."""

    name = "LOCAL"

    def __init__(self, configuration: Configuration) -> None:
        """Take ``[general] state_dir``, ``slots``, ``max_output``, ``tls`` and ``legacy_profiling``."""
        super().__init__(configuration)
        self._folders = Folders(state_folder(configuration) / "instances")

    def create(self, spec: InstanceSpec) -> Instance:
        """Start a node; see ``Provider.create``."""
        _check_function(spec.accelerator)
        self._folders.sweep()
        maker = ProcessId.of(spec.owner_pid)
        if maker is None:
            raise InstanceError(f"cannot make an instance for process {spec.owner_pid}: it has ended")
        folder, record = self._folders.make(spec.accelerator, maker)
        try:
            if self.configuration.get("general", "tls"):
                make_certificate().write(folder.path)
            return self._run(folder, record, spec.owner_pid)
        except BaseException:
            folder.remove()
            raise

    def instances(self) -> list[Instance]:
        """All of this user on this machine, oldest first."""
        return [self._describe(folder, record) for folder, record in self._folders.sweep()]

    def find(self, *, instance_id: str | None = None, address: str | None = None) -> Instance:
        """By id, or a running one by address; see ``Provider.find``."""
        if instance_id is not None:
            return self._describe(*self._folders.get(instance_id))
        host, port = _host_port(address or "")
        running = [found for found in self.instances() if found.status == "running"]
        fitting = [found for found in running if _fits(found.url, host, port)]
        if not fitting:
            raise InstanceNotFoundError(f"no LOCAL instance runs at {address!r}")
        if len(fitting) > 1:
            listed = ", ".join(f"{found.id} at {urlsplit(found.url).netloc}" for found in fitting)
            raise InstanceError(f"instance_ip = {address!r} fits several instances ({listed}): add the port")
        return fitting[0]

    def start(self, instance: Instance, owner_pid: int) -> Instance:
        """Run its node again on the same folder."""
        folder, record = self._folders.get(instance.id)
        described = self._describe(folder, record)
        if described.status != "stopped":
            return described
        return self._run(folder, record, owner_pid)

    def stop(self, instance: Instance) -> None:
        """End its processes, keep its folder."""
        with contextlib.suppress(InstanceNotFoundError):
            folder, record = self._folders.get(instance.id)
            # The mode first: a client killed half-way leaves a stopped instance, not one to be swept.
            folder.write(replace(record, stop_mode=StopMode.STOP))
            if record.node is not None:
                _end(record.node)

    def terminate(self, instance: Instance) -> None:
        """End its processes, remove its folder."""
        with contextlib.suppress(InstanceNotFoundError):
            folder, record = self._folders.get(instance.id)
            folder.write(replace(record, stop_mode=StopMode.TERM))
            if record.node is not None:
                _end(record.node)
            folder.remove()

    def mark(self, instance: Instance, stop_mode: StopMode) -> None:
        """Record the mode; the node's lease is the client's to change."""
        with contextlib.suppress(InstanceNotFoundError):
            folder, record = self._folders.get(instance.id)
            folder.write(replace(record, stop_mode=stop_mode))

    def reap(self, *, dry_run: bool) -> list[str]:
        """Do and tell what every look at the instances does."""
        left = self._folders.left_behind()
        if not dry_run:
            self._folders.sweep()
        return left

    def diagnose(self, instance: Instance) -> str:
        """Whether the node's process has ended, and where its log is."""
        try:
            folder, record = self._folders.get(instance.id)
        except InstanceNotFoundError:
            return f"the instance {instance.id} is gone"
        # A dying process drops its connections a moment before it is gone.
        if record.node is None or not processes.wait(record.node, _DYING_S):
            return f"its log is {folder.log}"
        return f"the node's process {record.node.pid} has ended, its log is {folder.log}"

    def log(self, instance: Instance) -> str:
        """What its node has written."""
        folder, _ = self._folders.get(instance.id)
        try:
            return folder.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _describe(self, folder: InstanceFolder, record: Record) -> Instance:
        url = ""
        status: Status = "stopped"
        if record.node is None:
            status = "starting" if processes.find(record.maker) else "stopped"
        elif processes.find(record.node) is not None:
            url = folder.node_url(record.node)
            status = "running" if url else "starting"
        return Instance(
            id=record.id,
            provider=self.name,
            accelerator=record.accelerator,
            status=status,
            url=url,
            created=record.created,
            stop_mode=record.stop_mode,
            shares_files=True,
            token=folder.token(),
            fingerprint=folder.fingerprint(),
        )

    def _run(self, folder: InstanceFolder, record: Record, owner_pid: int) -> Instance:
        """Start the node's process and wait until it answers; a process that fails is ended."""
        try:
            child = self._spawn(folder, record, owner_pid)
        except OSError as error:
            raise InstanceError(f"cannot start the node of {record.id}: {error}") from error
        node = None
        try:
            node = ProcessId.of(child.pid)
            record = replace(record, node=node)
            folder.write(record)
            _wait_until_it_answers(child, folder, record)
        except BaseException:
            with contextlib.suppress(OSError):
                child.kill()
            child.wait()
            if node is not None:
                _end(node)
            raise
        # From here the process is known by its record alone: Popen must neither wait for it nor warn about it.
        child.returncode = 0
        return self._describe(folder, record)

    def _spawn(self, folder: InstanceFolder, record: Record, owner_pid: int) -> subprocess.Popen[bytes]:
        folder.forget_address()
        with open(os.open(folder.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as log:
            # A session of its own: the terminal's Ctrl-C is for the client, which then ends the node.
            return subprocess.Popen(
                self._command(folder, record, owner_pid),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder.path,
                env=_environment(),
                start_new_session=True,
            )

    def _command(self, folder: InstanceFolder, record: Record, owner_pid: int) -> list[str]:
        command = [sys.executable, "-m", _NODE_MODULE, "--host", _LOOPBACK[0], "--port", "0"]
        # Nothing is waited for at its end: its user has what was to be had, or wants it gone.
        command += ["--drain", "0"]
        command += ["--state", str(folder.path), "--accelerator", record.accelerator, "--files-under", "/"]
        command += ["--owner", str(owner_pid), "--at-end", "terminate" if record.stop_mode is StopMode.TERM else "stop"]
        # Error messages quote the end of the log.
        command += ["--log-format", "text"]
        # Who may send here is the user, whose pipe may be slow or silent for long.
        command += ["--body-idle", str(_BODY_IDLE_S), "--body-rate", "0"]
        if folder.fingerprint():
            command += ["--tls-cert", str(folder.path / CERTIFICATE), "--tls-key", str(folder.path / KEY)]
        if store := self.configuration.get("accelize", "url"):
            command += ["--store", store, "--unsent", str(folder.unsent)]
        if slots := self.configuration.get("general", "slots"):
            command += ["--slots", str(slots)]
        if max_output := self.configuration.get("general", "max_output"):
            command += ["--max-output", str(max_output)]
        if self.configuration.get("general", "legacy_profiling"):
            command.append("--legacy-profiling")
        if self.configuration.get("general", "node_opens_urls"):
            command += ["--urls", ",".join(["https", *(s for s, p in _URL_PACKAGES.items() if find_spec(p))])]
        return command


def _check_function(accelerator: str) -> None:
    """Say at once that a function is not installed; the node would only say so after its start."""
    names = [point.name for point in entry_points(group=_FUNCTIONS_GROUP)]
    if names and accelerator not in names:
        raise FunctionUnknownError(f"accelerator {accelerator!r} is not installed here; {nearest(accelerator, names)}")


def _environment() -> dict[str, str]:
    """Ours, so that the node finds this very package even from a bare checkout."""
    environment = dict(os.environ)
    package_home = str(Path(__file__).parents[2])
    if package_home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package_home, environment.get("PYTHONPATH"))))
    return environment


def _wait_until_it_answers(child: subprocess.Popen[bytes], folder: InstanceFolder, record: Record) -> None:
    assert record.node is not None
    deadline = time.monotonic() + _ANSWER_WITHIN_S
    pause_s = 0.01
    while True:
        code = child.poll()
        if code is not None:
            raise InstanceError(f"the node of {record.id} ended at its start (exit code {code}): {folder.log_end()}")
        if (url := folder.node_url(record.node)) and answers(url, folder.fingerprint()):
            return
        if time.monotonic() > deadline:
            raise InstanceError(f"the node of {record.id} does not answer: {folder.log_end()}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)


def _end(node: ProcessId) -> None:
    try:
        processes.end_tree(node, _END_GRACE_S)
    except TimeoutError as error:
        raise InstanceError(f"cannot end the node's process {node.pid}: {error}") from error


def _host_port(address: str) -> tuple[str, int | None]:
    """Host and port of ``host``, ``host:port`` or a URL."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        return (parts.hostname or ""), parts.port
    except ValueError:
        return "", None


def _fits(url: str, host: str, port: int | None) -> bool:
    own_host, own_port = _host_port(url)
    same_host = own_host == host or (own_host in _LOOPBACK and host in _LOOPBACK)
    return same_host and port in (None, own_port)
