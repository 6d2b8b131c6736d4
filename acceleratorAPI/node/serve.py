"""A node from its settings to its end: folder, socket, lease, server, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import uvicorn
from starlette.types import ASGIApp

from acceleratorAPI.errors import ConfigurationError, InputError, nearest
from acceleratorAPI.functions import registry
from acceleratorAPI.node import logs, ssrf, tracing
from acceleratorAPI.node.access import Access
from acceleratorAPI.node.app import build
from acceleratorAPI.node.bodies import BodyLimits
from acceleratorAPI.node.courier import Couriers
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.engine import Engine
from acceleratorAPI.node.guard import Guard
from acceleratorAPI.node.headers import SecurityHeaders
from acceleratorAPI.node.http_protocol import protocol
from acceleratorAPI.node.lease import LeaseWatch, MachineLease
from acceleratorAPI.node.limits import Limits, usable_connections
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.once import Keys
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.sandbox import Sandbox, check_required
from acceleratorAPI.node.scratch import Scratch
from acceleratorAPI.node.service import Service
from acceleratorAPI.node.settings import Settings
from acceleratorAPI.node.spool import Spool
from acceleratorAPI.node.state import StateFolder
from acceleratorAPI.node.tls import fingerprint_of, server_context
from acceleratorAPI.node.uploads import Uploads
from acceleratorAPI.node.urls import Urls
from acceleratorAPI.node.v2 import VERSION
from acceleratorAPI.node.wire import Wire
from acceleratorAPI.protocol.records import Lease

if TYPE_CHECKING:
    from acceleratorAPI.node.metering import Metering

log = logging.getLogger(__name__)

_BACKLOG = 512
_GRACE_S = 2
_EXPIRE_EVERY_S = 60.0


def serve(settings: Settings) -> int:
    """Run a node until it is told to end; its exit code.

    Raises:
        ConfigurationError: a setting does not fit this machine (port taken, folder in use, ...).
    """
    logs.start(settings.log_format)
    return _Node(settings).run()


class _Node:
    """One node. The lease thread may end it at any moment, so what that needs is in place first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: StateFolder | None = None
        self._pool: Pool | None = None
        try:
            first = Lease(owner_pid=settings.owner, at_end=settings.at_end)
            machine = MachineLease(settings.lease_file) if settings.lease_file else None
            self._lease = LeaseWatch(first, self._owner_is_gone, machine, settings.notice_file)
        except InputError:
            # Killed, perhaps, while this process came up: nobody else is there to clean up after it.
            self._remove_state(settings.at_end)
            raise ConfigurationError(f"--owner {settings.owner}: there is no such process") from None
        self._state = StateFolder(settings.folder)

    def run(self) -> int:
        """Serve until the end."""
        settings, state = self._settings, self._state
        assert state is not None
        _check_accelerator(settings.accelerator)
        policy = ssrf.policy(settings.urls, settings.urls_under, settings.urls_allow_address)
        tokens = state.tokens(settings.token_file) if settings.auth == "token" else None
        spool = Spool(state.spool)
        sandbox = _sandbox(settings, state)
        tls, fingerprint = None, ""
        if settings.tls_cert is not None and settings.tls_key is not None:
            tls = server_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
            fingerprint = fingerprint_of(settings.tls_cert)
        database = Database(state.database)
        try:
            listener = _listen(settings.host, settings.port)
        except ConfigurationError:
            database.close()
            raise
        url = _url("http" if tls is None else "https", settings.host, listener)
        self._pool = Pool(settings.slots, settings.threads, settings.max_output, sandbox)
        metering = _metering(settings, state) if settings.store is not None else None
        uploads = Uploads(database, spool, settings.upload_lifetime_s)
        observer = Observer(tracing.from_environment())
        engine = Engine(database, spool, Scratch(state.scratch), uploads, self._pool, observer, settings)
        engine.admission.notice = lambda: self._lease.notice
        urls = Urls(settings.public_url, url)
        couriers = Couriers(policy, spool)
        service = Service(
            settings,
            database,
            spool,
            uploads,
            couriers,
            engine,
            Keys(database),
            self._lease,
            urls,
            self._pool,
            observer,
            metering,
        )
        limits = replace(settings.limits, connections=usable_connections(settings.limits.connections))
        guard = Guard(BodyLimits(build(service), limits), tokens, urls.public_host)
        app = Access(SecurityHeaders(guard), observer, log_requests=settings.access_log)
        hooks = _Hooks(lambda: state.write_address(url, VERSION, fingerprint), self._end_now)
        server = _Server(_configured(app, limits), self._pool, engine, hooks, _Tls(tls, limits.head_s))
        log.info("listening on %s, state in %s", url, state.folder)
        try:
            server.run([listener])
        finally:
            if metering is not None:
                metering.close()
            database.close()
            if observer.tracing is not None:
                observer.tracing.close()
            state.remove_address()
        log.info("ended")
        return 0

    def _end_now(self) -> None:
        """End without waiting for anything."""
        if self._pool is not None:
            self._pool.kill()
        if self._state is not None:
            self._state.remove_address()
        os._exit(0)

    def _owner_is_gone(self, at_end: Literal["terminate", "stop"]) -> None:
        """End as the lease says; called from its thread."""
        log.info("the owner is gone: %s", at_end)
        if self._pool is not None:
            self._pool.kill()
        self._remove_state(at_end)
        self._end_now()

    def _remove_state(self, at_end: Literal["terminate", "stop"]) -> None:
        """Remove the folder when the lease says so and no other living node has it."""
        if at_end == "terminate":
            with contextlib.suppress(ConfigurationError):
                self._state = self._state or StateFolder(self._settings.folder)
                self._state.remove(self._settings.unsent)


def _metering(settings: Settings, state: StateFolder) -> Metering:
    # JOSE and the store's transport, which nodes without a store need not load.
    from acceleratorAPI.node.metering import Metering
    from acceleratorAPI.node.store_link import check_url

    return Metering(check_url(settings.store or ""), state.database, state.folder, settings.unsent)


@dataclass(frozen=True)
class _Hooks:
    """What the server calls: when it listens, and at a second signal."""

    listening: Callable[[], None]
    at_once: Callable[[], None]


@dataclass(frozen=True)
class _Tls:
    """What the listener speaks TLS with, if it does, and how long a handshake may take."""

    context: ssl.SSLContext | None
    handshake_s: float


class _Server(uvicorn.Server):
    """uvicorn with this node's beginning, and an end that cancels jobs first and exits with 0."""

    def __init__(self, config: uvicorn.Config, pool: Pool, engine: Engine, hooks: _Hooks, tls: _Tls) -> None:
        super().__init__(config)
        self._pool, self._engine = pool, engine
        self._hooks, self._tls = hooks, tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._engine.restore()
        # As uvicorn would, but that gives a handshake a minute.
        loop, tls = asyncio.get_running_loop(), self._tls
        deadline_s = tls.handshake_s if tls.context is not None else None
        self.servers = [
            await loop.create_server(
                self._connection, sock=sock, ssl=tls.context, backlog=_BACKLOG, ssl_handshake_timeout=deadline_s
            )
            for sock in sockets or ()
        ]
        self.started = True
        self._pool.start()
        self._expiry = asyncio.create_task(self._expire())
        self._hooks.listening()

    def _connection(self) -> Wire:
        kind: Any = self.config.http_protocol_class
        return Wire(kind(config=self.config, server_state=self.server_state, app_state={}))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Between steps of the loop, where uvicorn would act in the middle of one: of a line of the log, say.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _end(self, number: signal.Signals) -> None:
        if self.should_exit:
            self._hooks.at_once()
        log.info("%s: ending", number.name)
        self.should_exit = True
        self._engine.admission.draining = True

    async def _expire(self) -> None:
        while True:
            try:
                await self._engine.expire()
            except Exception:
                log.exception("old files and records could not be removed")
            await asyncio.sleep(_EXPIRE_EVERY_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._expiry.cancel()
        for server in self.servers:
            server.close()
        await self._engine.drain()
        await super().shutdown(sockets)


def _check_accelerator(name: str | None) -> None:
    if name is not None and name not in registry.installed():
        hint = nearest(name, registry.installed())
        raise ConfigurationError(f"--accelerator {name!r}: no such function is installed; {hint}")


def _sandbox(settings: Settings, state: StateFolder) -> Sandbox:
    state.make_workplaces()
    sandbox = Sandbox(
        settings.sandbox,
        writable=tuple(map(str, (state.scratch, *settings.files_under, *settings.sandbox_allow))),
        temporary=str(state.temporary),
        memory_bytes=settings.worker_memory,
    )
    if sandbox.mode == "require":
        check_required(sandbox)
    return sandbox


def _configured(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"--host {host!r}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; name another --port, or 0 for a free one"
        ) from error
    return listener


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    """Where the node can be reached from its own machine."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"
