"""One accelerator's use of an instance, from ``start`` to its end. It outlives the user's object by just that end."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from acceleratorAPI.client.instance import Place
from acceleratorAPI.client.lease import LeaseKeeper
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.reports import Reports
from acceleratorAPI.client.results import StopResult
from acceleratorAPI.client.upload import Upload
from acceleratorAPI.errors import AcceleratorError, InstanceError
from acceleratorAPI.protocol.records import App, ConfigurationRecord, Lease
from acceleratorAPI.protocol.stop import StopMode

_log = logging.getLogger(__name__)

_UNDO = {"made": StopMode.TERM, "restarted": StopMode.STOP}


class Session:
    """An instance in use, and what is to become of it.

    Attributes:
        place: instance and node.
        accelerator: the function's name.
        stop_mode: what ``close`` does.
        configuration: the node's, once there is one.
        configured: digest of what it was made with; empty when it is not known.
        card: what the function takes and gives; empty for a node that does not tell.
        pid: of the process it belongs to.
        ended: nothing may be asked of the node any more.
    """

    def __init__(self, place: Place, accelerator: str, reports: Reports | None = None) -> None:
        """Take over ``place``; until ``set_stop_mode`` it ends as if nothing had happened to it.

        Args:
            place: instance and node.
            accelerator: the function's name.
            reports: keeps the usage that a node leaves whose disk goes with it.
        """
        self.place = place
        # A node of this machine leaves its usage here by itself, however it ends.
        self._reports = None if self.shares_files else reports
        self.accelerator = accelerator
        self.stop_mode = _UNDO.get(place.origin, StopMode.KEEP)
        # What the node does by itself when this process dies; an instance that was found may be anybody's.
        self._leased = _UNDO.get(place.origin)
        self.configuration: ConfigurationRecord | None = None
        self.configured = ""
        self.card: Mapping[str, Any] = {}
        self.ended = False
        self.pid = os.getpid()
        self._keeper = self._keep()

    @property
    def node(self) -> NodeClient:
        """The node's REST API."""
        return self.place.node

    @property
    def instance_id(self) -> str | None:
        """``None`` for a node known by its address alone."""
        return self.place.instance.id if self.place.instance else None

    @property
    def shares_files(self) -> bool:
        """Whether the node sees this machine's files."""
        return self.place.instance is not None and self.place.instance.shares_files

    def check_stop_mode(self, mode: StopMode | None) -> None:
        """See that ``set_stop_mode`` can be done.

        Raises:
            InstanceError: only the node's address is known, so it can only be kept.
        """
        if self.place.instance is None and mode not in (None, StopMode.KEEP):
            raise InstanceError(
                f"{self.node.url} is known by its address alone, so stop_mode={mode.name} cannot end it:"
                " use KEEP, or give instance_id"
            )

    def set_stop_mode(self, mode: StopMode) -> None:
        """Decide what becomes of the instance, also when this process is killed.

        Raises:
            InstanceError: as ``check_stop_mode``.
        """
        self.check_stop_mode(mode)
        provider, instance = self.place.provider, self.place.instance
        if provider is None or instance is None:
            self.stop_mode = mode
            return
        if mode is self._leased:
            return
        provider.mark(instance, mode)
        if self._keeper is not None:
            self._keeper.change(instance.keep_s if mode is StopMode.KEEP else instance.lease_s)
        if instance.shares_files:
            owner = None if mode is StopMode.KEEP else self.pid
            self.node.lease(Lease(owner_pid=owner, at_end="terminate" if mode is StopMode.TERM else "stop"))
        self.stop_mode = self._leased = mode

    def stop(self) -> StopResult:
        """End the instance by the stop mode. One that stays, or can be started again, keeps its configuration.

        Raises:
            AcceleratorError: the instance could not be ended.
        """
        app = App(status=0, msg="")
        if self.stop_mode is StopMode.TERM:
            # A node that is about to end need not answer any more.
            with contextlib.suppress(AcceleratorError):
                app = self.node.stop()
        self._end()
        return StopResult(self.stop_mode, self.instance_id, app.specific, self._farewell())

    def _keep(self) -> LeaseKeeper | None:
        """Renew the instance's lease from now on, if its life hangs on one."""
        provider, instance = self.place.provider, self.place.instance
        if provider is None or instance is None or not instance.lease_s:
            return None
        found = self.place.origin == "found" and instance.stop_mode is StopMode.KEEP
        return LeaseKeeper(
            self.node,
            instance.keep_s if found else instance.lease_s,
            lambda seconds: provider.renewed(instance, seconds),
        )

    def abandon(self) -> None:
        """Undo what ``acquire`` did, after a ``start`` that failed; never raises."""
        self.stop_mode = _UNDO.get(self.place.origin, StopMode.KEEP)
        self.close()

    def close(self) -> None:
        """End the instance by the stop mode; never raises. A kept node keeps its configuration.

        Called at the end of the object or the script, in any thread, and by a signal: it takes no lock. In a
        forked child it does nothing, the instance is the parent's.
        """
        if self.ended or os.getpid() != self.pid:
            return
        try:
            self._end()
        except AcceleratorError as error:
            if self._keeper is not None:
                # Nobody may ask again while this process lives: the instance ends with its lease.
                self._keeper.end()
            _log.warning("%s", error)

    def drop_job(self, job_id: str) -> None:
        """Cancel the job if it still runs and let the node remove its files; never raises."""
        if not self.ended:
            with contextlib.suppress(AcceleratorError):
                self.node.remove_job(job_id)

    def drop_upload(self, upload: Upload) -> None:
        """Let the node remove an upload no job has read to its end; never raises."""
        if upload.url and not upload.complete and not self.ended:
            with contextlib.suppress(AcceleratorError):
                self.node.remove_upload(upload.url)

    def _end(self) -> None:
        # Set first: a signal that comes now must not begin again.
        self.ended = True
        provider, instance = self.place.provider, self.place.instance
        try:
            if provider is not None and instance is not None:
                if self._reports is not None and self.stop_mode is not StopMode.KEEP:
                    self._reports.take_from(self.node, self.stop_mode)
                if self.stop_mode is StopMode.TERM:
                    provider.terminate(instance)
                elif self.stop_mode is StopMode.STOP:
                    provider.stop(instance)
        except BaseException:
            # An interrupt, too: the end can be asked for again.
            self.ended = False
            raise
        if self._keeper is not None:
            self._keeper.end()
        self.node.close()

    def _farewell(self) -> str:
        name = self.instance_id or self.node.url
        if self.stop_mode is StopMode.TERM:
            told = f"{name} is terminated"
        elif self.stop_mode is StopMode.STOP:
            told = f"{name} is stopped"
        else:
            told = f"{name} is kept at {self.node.url}"
        provider, instance = self.place.provider, self.place.instance
        bill = provider.bill(instance) if provider is not None and instance is not None else ""
        return f"{told} ({bill})" if bill else told
