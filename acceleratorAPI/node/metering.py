"""Whose usage a node counts, how it gets to the store, and when there is none left to use."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from acceleratorAPI.errors import AcceleratorError, ConfigurationError, StateError, UsageQuotaError
from acceleratorAPI.files import replacing
from acceleratorAPI.functions import registry
from acceleratorAPI.node.outbox import Outbox
from acceleratorAPI.node.store_link import StoreLink
from acceleratorAPI.protocol.unsent import DATABASE, MARKER
from acceleratorAPI.protocol.usage import MOST_EVENTS, OLDEST_S, SignedReport

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_LONGEST_PAUSE_S = 60.0
_LAST_WORD_S = 5.0


class Metering:
    """A node that reports to a store. Its work with disk and network is in one thread of its own."""

    def __init__(self, url: str, database: Path, folder: Path, unsent: Path | None = None) -> None:
        """Begin to report.

        Args:
            url: of the store.
            database: the node's.
            folder: where the store's public keys are kept.
            unsent: where nodes that ended have left what the store did not take; it is sent too.
        """
        self._link = StoreLink(url, folder / "store-keys.json")
        self._marker = folder / MARKER
        with replacing(self._marker) as file:
            file.write(url.encode())
        self._unsent = unsent
        self._damaged: set[Path] = set()
        self._outbox = Outbox(database)
        new = OKPKey.generate_key("Ed25519")
        self.node, text = self._outbox.identity(json.dumps(new.as_dict(private=True)))
        self._key = OKPKey.import_key(json.loads(text))
        self._facts = {"version": version("acceleratorAPI")}
        self._outbox.note_versions({name: registry.load(name).card.version for name in registry.installed()})
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metering")
        self._checks = ThreadPoolExecutor(max_workers=4, thread_name_prefix="access-keys")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._reporter = threading.Thread(target=self._report, name="usage", daemon=True)
        self._reporter.start()

    async def admit(self, env: dict[str, Any]) -> str:
        """The application whose key a request shows, with the store told that this node reports for it.

        Raises:
            AuthenticationError: the key is wrong or missing.
            StoreUnreachableError: the store is needed, and does not answer.
            UsageQuotaError: the key has used what it may.
        """
        return await asyncio.get_running_loop().run_in_executor(self._checks, self._admit, env)

    async def charge(self, configuration: int, application: str) -> None:
        """Count the jobs of a configuration for an application."""

        def work() -> None:
            with self._lock:
                self._outbox.charge(configuration, application)

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def check(self, configuration: int, living: int) -> None:
        """See that a configuration's application may begin one more job.

        Args:
            configuration: its id.
            living: jobs of the node that have not ended; taken for this application's, as they may be.

        Raises:
            UsageQuotaError: the quota is used up.
            StateError: it was configured when no store counted.
        """

        def work() -> None:
            with self._lock:
                application = self._outbox.application_of(configuration)
            if application is None:
                raise StateError(
                    f"configuration {configuration} was made without an access key: start again"
                    " (POST /v1.0/configuration/)"
                )
            self._check_quota(application, living)

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def hand_over(self) -> list[SignedReport]:
        """Send what there is; what the store does not take soon, signed, for the caller to keep and bring there."""
        loop = asyncio.get_running_loop()
        sent = loop.run_in_executor(self._checks, self._send_all)
        await asyncio.wait([sent], timeout=_LAST_WORD_S)
        return await loop.run_in_executor(self._checks, self._signed)

    def close(self) -> None:
        """Send what is left, if the store takes it soon, and end."""
        self._ended.set()
        self._reporter.join(_LAST_WORD_S)
        self._checks.shutdown(cancel_futures=True)
        self._thread.shutdown()
        if not self._reporter.is_alive():
            if not self._outbox.waiting().jobs:
                self._marker.unlink(missing_ok=True)
            self._outbox.close()

    def _admit(self, env: dict[str, Any]) -> str:
        shown = self._link.shown(env)
        with self._lock:
            known = self._outbox.registered(shown.application)
        if not known:
            quota = self._link.register(shown.token, self.node, self._key, self._facts)
            with self._lock:
                self._outbox.note_registration(shown.application)
                self._outbox.keep_quota(shown.application, quota)
        self._check_quota(shown.application, 0)
        return shown.application

    def _check_quota(self, application: str, living: int) -> None:
        with self._lock:
            quota = self._outbox.quota(application)
            if quota is None or (quota.jobs is None and quota.bytes is None):
                return
            waiting = self._outbox.waiting(application)
        until = f"{quota.until:%Y-%m-%d}"
        for left, used, unit in ((quota.jobs, waiting.jobs + living, "jobs"), (quota.bytes, waiting.bytes, "bytes")):
            if left is not None and left - used <= 0:
                raise UsageQuotaError(
                    f"the quota of access key {application} is used up: no {unit} are left until {until};"
                    " raise it on the store's keys page"
                )

    def _report(self) -> None:
        pause_s = _LOOK_EVERY_S
        while True:
            ending = self._ended.wait(pause_s)
            try:
                while self._send_some(self._outbox, self.node, self._key):
                    pass
                self._send_left()
                pause_s = _LOOK_EVERY_S
            except AcceleratorError as error:
                log.warning("usage waits for the store: %s", error)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            except Exception:
                log.exception("usage could not be reported")
                pause_s = _LONGEST_PAUSE_S
            if ending:
                return

    def _send_all(self) -> None:
        try:
            while self._send_some(self._outbox, self.node, self._key):
                pass
        except AcceleratorError as error:
            log.warning("usage is handed over, not sent: %s", error)

    def _signed(self) -> list[SignedReport]:
        reports: list[SignedReport] = []
        after = 0
        while True:
            with self._lock:
                events = self._outbox.events(self.node, MOST_EVENTS, after)
            if not events:
                return reports
            after = int(events[-1].data.job)
            reports.append(self._link.signed(self.node, self._key, events, OLDEST_S))

    def _send_left(self) -> None:
        """Report what nodes have left that ended while this store was down; what it has all of is removed."""
        for place in sorted(self._unsent.iterdir()) if self._unsent is not None and self._unsent.exists() else ():
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                if place in self._damaged or (place / MARKER).read_text() != self._link.url:
                    continue
                try:
                    with _claimed(place), closing(Outbox(place / DATABASE)) as outbox:
                        node, key = outbox.identity(json.dumps(self._key.as_dict(private=True)))
                        while self._send_some(outbox, node, OKPKey.import_key(json.loads(key))):
                            pass
                        if not outbox.waiting().jobs:
                            shutil.rmtree(place, ignore_errors=True)
                except (sqlite3.Error, ConfigurationError) as error:
                    log.error("the usage left in %s cannot be read: %s", place, error)
                    self._damaged.add(place)

    def _send_some(self, outbox: Outbox, node: str, key: OKPKey) -> bool:
        """Report a batch of a node; whether there may be more."""
        with self._lock:
            events = outbox.events(node, MOST_EVENTS)
        if not events:
            return False
        answer = self._link.report(node, key, events)
        refused = {refusal.id: refusal.reason for refusal in answer.rejected}
        for identifier, reason in refused.items():
            log.error("the store refuses usage %s: %s", identifier, reason)
        done = {*answer.accepted, *answer.duplicate}
        with self._lock:
            outbox.settle(node, events, done, refused)
            for application, quota in answer.quotas.items():
                self._outbox.keep_quota(application, quota)
        return len(events) == MOST_EVENTS and bool(done or refused)


@contextlib.contextmanager
def _claimed(place: Path) -> Iterator[None]:
    """One node at a time sends what lies there.

    Raises:
        BlockingIOError: another one does.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
