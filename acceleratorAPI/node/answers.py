"""Rows as the records of the REST API, with absolute URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from acceleratorAPI.errors import NotFoundError
from acceleratorAPI.node.rows import ConfigurationRow, JobRow
from acceleratorAPI.protocol import paths
from acceleratorAPI.protocol.records import (
    App,
    ConfigurationRecord,
    Failure,
    JobRecord,
    ParametersResult,
    ProcessRecord,
    Progress,
    ResultFile,
)

PAGE_SIZE = 10


def _result(text: str | None) -> ParametersResult | None:
    return None if text is None else ParametersResult(app=App.model_validate_json(text))


def configuration_record(row: ConfigurationRow, base: str) -> ConfigurationRecord:
    """A configuration as clients see it."""
    return ConfigurationRecord(
        id=str(row.id),
        url=f"{base}{paths.CONFIGURATION}{row.id}/",
        accelerator=row.accelerator,
        created=row.created,
        used=row.used,
        processed=row.processed_date is not None,
        processed_date=row.processed_date,
        inerror=row.inerror,
        errorcode=row.errorcode,
        parameters=row.parameters,
        parametersresult=_result(row.result),
        datafile=row.datafile_name,
    )


def process_record(row: JobRow, progress: Progress, base: str) -> ProcessRecord:
    """A job as clients see it. A living job's row may be ahead of the disk: it counts from ``progress`` on."""
    ended = progress.state not in ("queued", "running")
    url = f"{base}{paths.PROCESS}{row.id}/"
    return ProcessRecord(
        id=str(row.id),
        url=url,
        configuration=f"{base}{paths.CONFIGURATION}{row.configuration}/",
        created=row.created,
        processed=ended,
        processed_date=row.processed_date if ended else None,
        inerror=ended and row.state != "succeeded",
        errorcode=row.errorcode if ended else None,
        parameters=row.parameters,
        parametersresult=_result(row.result) if ended else None,
        datafile=row.input_name,
        datafileresult=f"{url}datafileresult" if ended and row.output else None,
        progress=progress,
    )


def job_record(row: JobRow, progress: Progress, base: str) -> JobRecord:
    """A job as clients of version 2 see it."""
    ended = progress.state not in ("queued", "running")
    url = f"{base}{paths.JOBS}{row.id}"
    app = _result(row.result).app if ended and row.result else None  # type: ignore[union-attr]  # there is a text
    result = None
    if ended and row.output:
        crc32c = None if row.crc32c is None else f"{row.crc32c:08x}"
        result = ResultFile(url=f"{url}/result", size_bytes=row.bytes_out, crc32c=crc32c)
    failed = ended and row.state != "succeeded" and app is not None
    return JobRecord(
        id=str(row.id),
        url=url,
        configuration=f"{base}{paths.CONFIGURATION}{row.configuration}/",
        accelerator=row.accelerator,
        created=row.created,
        ended=row.processed_date if ended else None,
        attempts=row.attempts,
        input_name=row.input_name,
        progress=progress,
        app=app,
        result=result,
        failure=Failure(code=row.errorcode or "error", detail=app.msg) if failed and app else None,
    )


def page_of(count: int, number: int, url: str, rows: list[Any], record: Callable[[Any], Any]) -> dict[str, Any]:
    """The page ``number`` (from 1) of ``count`` rows.

    Raises:
        NotFoundError: there is no such page.
    """
    last = max(1, -(-count // PAGE_SIZE))
    if not 1 <= number <= last:
        raise NotFoundError(f"page = {number}: there are pages 1 to {last}")

    def link(page: int) -> str:
        return f"{url}?{urlencode({'page': page})}" if 1 <= page <= last else ""

    return {
        "count": count,
        "next": link(number + 1),
        "previous": link(number - 1),
        "results": [record(row) for row in rows],
    }
