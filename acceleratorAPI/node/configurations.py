"""Configurations: made by a worker, kept as rows, and at hand in memory while jobs may use them."""

from __future__ import annotations

import json
import logging
from typing import Any

from acceleratorAPI.errors import AcceleratorError, InputError, JobCancelledError, JobError, StateError
from acceleratorAPI.node import logs, results
from acceleratorAPI.node.commands import Configure
from acceleratorAPI.node.database import Database
from acceleratorAPI.node.observer import Observer
from acceleratorAPI.node.pool import Pool
from acceleratorAPI.node.rows import ConfigurationRow, now
from acceleratorAPI.node.scratch import Scratch
from acceleratorAPI.node.slot import Call
from acceleratorAPI.node.spool import Spool

log = logging.getLogger(__name__)

STOPPED = "the accelerator was stopped before this job ended; start it and send the job again"
_START = "start again (POST /v1.0/configuration/)"


class Configurations:
    """The configurations of one node."""

    def __init__(
        self, database: Database, spool: Spool, scratch: Scratch, pool: Pool, observer: Observer, *, metered: bool
    ) -> None:
        self._database = database
        self._spool = spool
        self._scratch = scratch
        self._pool = pool
        self._observer = observer
        self._metered = metered
        # Those that jobs may use, and how a worker makes them.
        self._ready: dict[int, tuple[ConfigurationRow, Configure]] = {}
        self._active: int | None = None
        self._generation = 0

    async def restore(self) -> set[str]:
        """Take up what the database holds; the spool names in use."""
        keep: set[str] = set()
        for row in await self._database.all(ConfigurationRow):
            if not row.processed_date:
                row.processed_date, row.inerror, row.errorcode = now(), True, JobError.code
                row.result = results.failed("the node was restarted; configure again").model_dump_json()
                await self._database.update(row)
            elif row.masked and not row.stopped:
                # Its parameters held a secret, which is not on the disk.
                row.used, row.stopped = False, True
                await self._database.update(row)
            if row.datafile:
                keep.add(row.datafile)
            if not row.stopped and not row.inerror:
                self._add(row, self._command(row, json.loads(row.function_parameters)))
        await self._scratch.keep_only({str(number) for number in self._ready})
        return keep

    @property
    def fpga_image(self) -> str | None:
        """The FPGA image that the active configuration named."""
        if self._active is None:
            return None
        env = json.loads(self._ready[self._active][0].parameters).get("env")
        return env.get("AGFI") or None if isinstance(env, dict) else None

    def command(self, number: int) -> Configure | None:
        """How a worker makes the configuration of that id, unless it can no longer be used."""
        found = self._ready.get(number)
        return None if found is None else found[1]

    async def configure(self, row: ConfigurationRow, parameters: dict[str, Any]) -> ConfigurationRow:
        """Configure a function with its full ``parameters``; the row, which is written already, says how it went."""
        logs.note(configuration=row.id, function=row.accelerator)
        command = self._command(row, parameters)
        call, generation = Call(command), self._generation
        try:
            self._pool.submit(call, first=True)
            app = results.configured(await call.answer, metered=self._metered)
            if generation != self._generation:
                raise JobCancelledError(STOPPED)
            row.used = True
        except AcceleratorError as error:
            app = results.failed(str(error))
            row.inerror, row.errorcode = True, error.code
            self._spool.remove(row.datafile)
            row.datafile = None
            await self._scratch.remove(str(row.id))
        row.processed_date = now()
        row.result = app.model_dump_json()
        if not row.inerror:
            self._add(row, command)
        await self._database.update(row)
        self._observer.configured(row, call)
        log.info("configuration %d: %s %s", row.id, row.accelerator, row.errorcode or "ready")
        return row

    async def usable(self, number: int | None) -> ConfigurationRow:
        """The configuration to process with: the one of that id, or the active one.

        Raises:
            InputError: there is none of that id.
            StateError: it is stopped or failed, or none is active.
        """
        if number is None:
            number = self._active
        if number is None:
            raise StateError("no configuration is active: start first (POST /v1.0/configuration/)")
        if number in self._ready:
            return self._ready[number][0]
        row = await self._database.get(ConfigurationRow, number)
        if row is None:
            raise InputError(f"configuration = {number}: there is no such configuration on this node")
        if row.inerror or not row.processed_date:
            raise StateError(f"configuration {number} did not succeed: {_START}")
        raise stopped(number)

    async def drop(self) -> None:
        """None can be used from now on, nor those that are being made; workers forget them."""
        # First of all, so that nothing begins meanwhile.
        self._generation += 1
        self._ready.clear()
        self._active = None
        self._spool.remove(*await self._database.stop_configurations())

    async def clean_up(self) -> None:
        """Remove what the jobs of dropped configurations left, once none of them runs."""
        await self._scratch.keep_only({str(number) for number in self._ready})
        self._pool.reset()

    def _add(self, row: ConfigurationRow, command: Configure) -> None:
        self._ready[row.id] = row, command
        if row.used:
            self._active = row.id

    def _command(self, row: ConfigurationRow, parameters: dict[str, Any]) -> Configure:
        datafile = str(self._spool.path(row.datafile)) if row.datafile else None
        key = str(row.id)
        return Configure(key, row.accelerator, parameters, datafile, str(self._scratch.path(key)))


def stopped(number: int) -> StateError:
    """What a job is told whose configuration is gone."""
    return StateError(f"configuration {number} was stopped: {_START}")
