"""The accelerator a user holds: ``start``, ``process``, ``stop``. Errors are typed, results too."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from acceleratorAPI.client import lifetime
from acceleratorAPI.client.calls import Calls
from acceleratorAPI.client.instance import acquire
from acceleratorAPI.client.job import Destination, Job, JobGroup, OnProgress, Options
from acceleratorAPI.client.reports import Reports
from acceleratorAPI.client.results import ProcessResult, StartResult, StopResult
from acceleratorAPI.client.resume import digest
from acceleratorAPI.client.session import Session
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.client.transfer import Input, Source
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import DatafileError, FunctionUnknownError, InputError, StateError, nearest
from acceleratorAPI.protocol.records import App, ConfigurationRecord
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.base import Instance
from acceleratorAPI.remote import names

# Two keep a node of one slot busy while the next file travels, four one of two slots with small files.
DEFAULT_WORKERS = 4
_SUBMIT_WORKERS = 8


class Accelerator:
    """An accelerated function on an instance.

    A context manager: its end ends the instance by the stop mode. So do the end of the object and of the script,
    SIGTERM, and, for an instance of this machine, the death of the process.
    """

    def __init__(
        self,
        accelerator: str,
        *,
        config_file: str | os.PathLike[str] | None = None,
        provider: str | None = None,
        region: str | None = None,
        xlz_client_id: str | None = None,
        xlz_secret_id: str | None = None,
        csp_client_id: str | None = None,
        csp_secret_id: str | None = None,
        project_id: str | None = None,
        instance_type: str | None = None,
        ssh_key: str | None = None,
        security_group: str | None = None,
        role: str | None = None,
        instance_id: str | None = None,
        instance_ip: str | None = None,
        stop_mode: StopMode | int | str | None = None,
        shared_files: bool | None = None,
        node_opens_urls: bool | None = None,
    ) -> None:
        """Read the settings; nothing is started. Only a store that is configured is contacted, to check the access key.

        Args:
            accelerator: the function's name.
            config_file: an ``accelerator.conf``; without it, it is looked for.
            provider: who makes the instance, ``LOCAL`` by default.
            region: see the setting; so for all that follow, docs/configuration.md.
            xlz_client_id: client id of the store's access key.
            xlz_secret_id: its secret.
            csp_client_id: client id of the cloud's access key.
            csp_secret_id: its secret.
            project_id: project of the cloud account.
            instance_type: kind of machine.
            ssh_key: name of the SSH key.
            security_group: name of the security group.
            role: role the instance takes.
            instance_id: reuse this instance; a stopped one is started again.
            instance_ip: reuse the instance at this host, host:port or URL.
            stop_mode: what becomes of the instance at the end.
            shared_files: ``False``: also send files to a node of this machine, instead of letting it use them.
            node_opens_urls: ``True``: the node, not this program, reads and writes the URLs given to ``process``.

        Raises:
            ConfigurationError: a setting is wrong.
            AuthenticationError: the store does not take the access key.
            StoreUnreachableError: it does not answer.
        """
        if not isinstance(accelerator, str) or not accelerator:
            raise TypeError("accelerator: the name of a function, such as 'cast_gzip'")
        self.accelerator = accelerator
        given = {
            ("csp", "provider"): provider,
            ("csp", "region"): region,
            ("csp", "client_id"): csp_client_id,
            ("csp", "secret_id"): csp_secret_id,
            ("csp", "project_id"): project_id,
            ("csp", "instance_type"): instance_type,
            ("csp", "ssh_key"): ssh_key,
            ("csp", "security_group"): security_group,
            ("csp", "role"): role,
            ("csp", "instance_id"): instance_id,
            ("csp", "instance_ip"): instance_ip,
            ("csp", "stop_mode"): stop_mode,
            ("general", "node_opens_urls"): node_opens_urls,
            ("accelize", "client_id"): xlz_client_id,
            ("accelize", "secret_id"): xlz_secret_id,
        }
        self.settings = Configuration.load(config_file, given)
        self._store = StoreClient.of(self.settings)
        self._reports = Reports.of(self.settings)
        if self._store is not None and self._reports is not None:
            self._store.token()
            self._reports.bring(self._store)
        self._shared_files = shared_files is not False
        self._session: Session | None = None
        self._release: Callable[[], object] = lambda: None
        self._submitted: Calls | None = None
        self._submit_lock = threading.Lock()

    @property
    def url(self) -> str | None:
        """Of the node, while started."""
        return self._session.node.url if self._session else None

    @property
    def instance(self) -> Instance | None:
        """The instance in use, while started; ``None`` for a node known by its address alone."""
        return self._session.place.instance if self._session else None

    @property
    def configuration(self) -> ConfigurationRecord | None:
        """The node's configuration in use, while started."""
        return self._session.configuration if self._session else None

    @property
    def gives_output(self) -> bool:
        """Whether the function is known, once started, to give a file each time."""
        return self._session is not None and self._session.card.get("output") == "required"

    @property
    def may_give_output(self) -> bool:
        """Whether the function, once started, may give a file."""
        return self._session is not None and self._session.card.get("output") != "none"

    @property
    def takes_input(self) -> bool:
        """Whether the function may take an input, as far as it is known."""
        return self._session is None or self._session.card.get("input") != "none"

    def start(
        self, datafile: Source | None = None, *, stop_mode: StopMode | int | str | None = None, **parameters: Any
    ) -> StartResult:
        """Make or find the instance and configure the function; called again, configure it anew.

        Args:
            datafile: the function's configuration file (a corpus): a path, an open binary file or bytes.
            stop_mode: what becomes of the instance at the end. By default what was set before, else TERM for an
                instance made here and KEEP for one that was given.
            parameters: of the function's configuration.

        Without ``datafile`` and ``parameters``, a node that is configured for this function is used as it is;
        the parameters of the setting ``[configuration]`` do not configure it anew.

        Raises:
            DatafileError: the function needs a datafile and got none.
            AcceleratorError: whatever went wrong; an instance made here is gone again.
        """
        started = time.perf_counter()
        mode = StopMode.parse(stop_mode) if stop_mode is not None and stop_mode != "" else None
        source = Input(datafile) if datafile is not None else None
        if source is not None:
            source.check()
        values = {**(self.settings.get("configuration", "parameters") or {}), **parameters}
        session = self._session
        if session is None:
            session = Session(acquire(self.settings, self.accelerator, self._store), self.accelerator, self._reports)
        try:
            wanted = self._wanted_stop_mode(session, mode)
            session.check_stop_mode(wanted)
            reused = self._configure(session, source, values, reuse=source is None and not parameters)
            # Last: a start that fails leaves an instance it did not make as it was.
            if wanted is not None:
                session.set_stop_mode(wanted)
        except BaseException:
            if self._session is None:
                session.abandon()
            raise
        if self._session is None:
            self._session = session
            self._release = lifetime.hold(self, session)
        return self._start_result(session, reused, time.perf_counter() - started)

    def process(
        self,
        src: Source | None = None,
        dst: Destination | None = None,
        *,
        progress: OnProgress | None = None,
        **parameters: Any,
    ) -> ProcessResult:
        """Process one input.

        Args:
            src: a path (of a folder, for a function that takes one), a URL (``https``, ``s3``, ``gs``, ``file``), an
                open binary file, bytes, or ``None`` for a function that takes no file.
            dst: a path or URL, which appears whole or not at all; an open binary file; or ``None`` to get the bytes
                in the result's ``data``.
            progress: called with a ``TransferProgress`` now and then.
            parameters: of the function.

        Raises:
            StateError: before ``start``.
            InputError: ``src`` or ``dst`` cannot be used; nothing was sent.
            JobError: the job failed.
            NodeError: the node failed.
        """
        session = self._started("process")
        options = self._options(session, progress, parameters)
        return Job(session, JobGroup(session), src, dst).run(options)

    def process_submit(
        self,
        src: Source | None = None,
        dst: Destination | None = None,
        *,
        progress: OnProgress | None = None,
        **parameters: Any,
    ) -> Future[ProcessResult]:
        """As ``process``, in the background. ``stop`` waits for it; an error inside a ``with`` block cancels it.

        Args:
            src: as for ``process``.
            dst: as for ``process``.
            progress: as for ``process``, called in a thread of its own.
            parameters: of the function.

        Raises:
            StateError: before ``start``.
        """
        session = self._started("process_submit")
        with self._submit_lock:
            # A forked child has the parent's calls, but none of its threads.
            if self._submitted is None or self._submitted.pid != os.getpid():
                self._submitted = Calls(session, _SUBMIT_WORKERS)
            calls = self._submitted
        return calls.submit(src, dst, self._options(session, progress, parameters))[0]

    def process_map(
        self,
        sources: Iterable[Source],
        destinations: str | os.PathLike[str] | Iterable[Destination] | Callable[[Source], Destination] | None = None,
        *,
        workers: int = DEFAULT_WORKERS,
        progress: OnProgress | None = None,
        **parameters: Any,
    ) -> Iterator[ProcessResult]:
        """Process many inputs, at most ``workers`` at once; results come in the order of the inputs.

        Args:
            sources: inputs as for ``process``; taken as results are, so it may be endless.
            destinations: a folder or a URL that stands for one (``s3://bucket/folder``), which gets a file of each
                input's name; or one for each input; or a function that gives the one for an input; or ``None`` to
                get the bytes in the results.
            workers: how many at once, at least 1.
            progress: as for ``process``, called from several threads.
            parameters: of the function.

        Raises:
            StateError: before ``start``.
            AcceleratorError: of the first input that failed, at its turn; what was not begun then is not done.
        """
        session = self._started("process_map")
        if workers < 1:
            raise ValueError(f"workers = {workers}: use at least 1")
        options = self._options(session, progress, parameters)
        return _map(session, _pairs(sources, destinations), workers, options)

    def stop(self, stop_mode: StopMode | int | str | None = None) -> StopResult:
        """Drop the node's configurations and end the instance; nothing started is nothing to do.

        Args:
            stop_mode: instead of the one in force.

        Raises:
            InstanceError: the instance cannot be ended this way.
        """
        mode = StopMode.parse(stop_mode) if stop_mode is not None and stop_mode != "" else None
        session = self._session
        if session is None:
            return StopResult(None, None, {}, "nothing was started, nothing done")
        if mode is not None and mode is not session.stop_mode:
            session.set_stop_mode(mode)
        self._finish_submitted(cancel=False)
        result = session.stop()
        self._session = None
        self._release()
        return result

    def close(self) -> None:
        """End the instance by the stop mode, as the object's own end does: a kept one stays configured."""
        session = self._session
        if session is not None:
            self._finish_submitted(cancel=False)
            session.close()
            self._session = None
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._finish_submitted(cancel=True)
        self.close()

    def __repr__(self) -> str:
        state = f"at {self.url}, {self._session.stop_mode.name} at the end" if self._session else "not started"
        return f"<Accelerator {self.accelerator} {state}>"

    def _started(self, verb: str) -> Session:
        if self._session is None:
            raise StateError(f"{verb} before start: call start() first")
        return self._session

    def _options(self, session: Session, progress: OnProgress | None, parameters: Mapping[str, Any]) -> Options:
        setting = self.settings.get
        return Options(
            {**(setting("process", "parameters") or {}), **parameters},
            progress,
            shared=self._shared_files and session.shares_files,
            node_opens_urls=bool(setting("general", "node_opens_urls")),
            connections=setting("general", "connections"),
        )

    def _wanted_stop_mode(self, session: Session, asked: StopMode | None) -> StopMode | None:
        """What was asked; else what was set; else what fits the instance; ``None``: as it is."""
        configured: StopMode | None = self.settings.get("csp", "stop_mode")
        if asked is None and session.place.provider is None and self.settings.origin("csp", "stop_mode") != "argument":
            # The mode of a configuration file is meant for instances; a bare address can only be kept.
            configured = None
        if self._session is not None:
            configured = None
        mode = asked if asked is not None else configured
        if mode is None and session.place.origin in ("made", "restarted"):
            mode = StopMode.TERM if session.place.origin == "made" else StopMode.KEEP
        return mode

    def _configure(self, session: Session, source: Input | None, values: Mapping[str, Any], *, reuse: bool) -> bool:
        """Make the function ready; whether it already was."""
        catalogue = session.node.catalogue()
        if catalogue and self.accelerator not in catalogue:
            known = nearest(self.accelerator, catalogue)
            raise FunctionUnknownError(f"the node has no function {self.accelerator!r}; {known}")
        session.card = catalogue.get(self.accelerator, {})
        if reuse and session.place.origin != "made":
            newest = session.node.newest_configuration()
            fits = newest is not None and newest.used and newest.accelerator == self.accelerator
            if fits and newest is not None and self._is_charged_for(newest):
                session.configuration, session.configured = newest, ""
                return True
        if source is None and session.card.get("datafile") == "required":
            wanted = session.card.get("datafile_format") or "a configuration file"
            raise DatafileError(
                f"{self.accelerator} needs a datafile (datafile=, on the command line --config-file): {wanted}"
            )
        made_for = session.place.instance.fpga_image if session.place.instance else ""
        fpga_image = self.settings.get("csp", "fpga_image") or made_for
        env = {"accelerator": self.accelerator, "AGFI": fpga_image, **self._credentials()}
        env = {name: value for name, value in env.items() if value}
        app = {"specific": dict(values)}
        session.configuration = session.node.configure({"env": env, "app": app}, source, lambda *_: None)
        identity = source.identity if source is not None else None
        session.configured = digest(session, [values, identity]) if source is None or identity is not None else ""
        return False

    def _is_charged_for(self, record: ConfigurationRecord) -> bool:
        """Whether a node counts the jobs of a configuration for this access key; without a store nobody pays."""
        if self._store is None:
            return True
        env = json.loads(record.parameters).get("env")
        return isinstance(env, dict) and env.get("client_id") == self._store.client_id

    def _credentials(self) -> dict[str, str]:
        """What shows a node whose access key this is: with a store a short-lived token, and the secret stays here."""
        if self._store is not None:
            return {"client_id": self._store.client_id, "access_token": self._store.token()}
        keys = {"client_id": "client_id", "client_secret": "secret_id"}
        found = {name: self.settings.get("accelize", key) for name, key in keys.items()}
        return {name: value for name, value in found.items() if value}

    def _start_result(self, session: Session, reused: bool, elapsed_s: float) -> StartResult:
        record = session.configuration
        assert record is not None
        app = record.parametersresult.app if record.parametersresult else App(status=0, msg="")
        return StartResult(
            accelerator=self.accelerator,
            instance_id=session.instance_id,
            url_instance=session.node.url,
            url_config=record.url,
            reused=reused,
            specific=app.specific,
            message=app.msg,
            elapsed_s=elapsed_s,
        )

    def _finish_submitted(self, *, cancel: bool) -> None:
        calls, self._submitted = self._submitted, None
        if calls is not None and calls.pid == os.getpid():
            calls.end(cancel=cancel)


def _map(
    session: Session, pairs: Iterator[tuple[Source, Destination | None]], workers: int, options: Options
) -> Iterator[ProcessResult]:
    calls = Calls(session, workers)
    pending: deque[tuple[Future[ProcessResult], float]] = deque()
    try:
        for source, destination in pairs:
            pending.append(calls.submit(source, destination, options))
            # Ahead by as many as the workers' requests hold.
            while pending and (pending[0][0].done() or sum(share for _, share in pending) > workers):
                yield pending.popleft()[0].result()
        while pending:
            yield pending.popleft()[0].result()
    finally:
        calls.end(cancel=bool(pending))


def _pairs(
    sources: Iterable[Source],
    destinations: str | os.PathLike[str] | Iterable[Destination] | Callable[[Source], Destination] | None,
) -> Iterator[tuple[Source, Destination | None]]:
    if destinations is None:
        return ((source, None) for source in sources)
    if isinstance(destinations, (str, os.PathLike)):
        return _into_folder(sources, os.fspath(destinations))
    if callable(destinations):
        return ((source, destinations(source)) for source in sources)
    return zip(sources, destinations, strict=True)


def _into_folder(sources: Iterable[Source], folder: str) -> Iterator[tuple[Source, str]]:
    """Each source with the path of its own name in ``folder``.

    Raises:
        InputError: a source has no name, or the name of an earlier one.
    """
    taken: set[str] = set()
    for source in sources:
        shown = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
        if not isinstance(shown, (str, os.PathLike)):
            raise InputError("only an input with a name can go to a folder: give the destinations one by one")
        name = os.path.basename(os.path.normpath(names.shown(os.fspath(shown))))
        if name in taken:
            raise InputError(f"two inputs are named {name!r}: in one folder the second would replace the first")
        taken.add(name)
        yield source, f"{folder.rstrip('/')}/{name}" if names.is_url(folder) else os.path.join(folder, name)
