"""Which of the database's changes wait for the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from acceleratorAPI.node.database import Database
from acceleratorAPI.node.rows import UploadRow, now

NOT_FLUSHED = ["PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA synchronous=FULL"]


def upload(name: str) -> UploadRow:
    return UploadRow(
        id=name, created=now(), expires=0, boot="", length=None, metadata="", partial=False, client="", offset=1
    )


@pytest.mark.parametrize(
    ("flushes", "statements"),
    [
        ((False,), NOT_FLUSHED),
        ((True,), ["BEGIN IMMEDIATE", "COMMIT"]),
        # Together they are one transaction, as sure as the surest of them wants it.
        ((False, True), [*NOT_FLUSHED, "BEGIN IMMEDIATE", "COMMIT"]),
        ((False, False, True), [*NOT_FLUSHED, "BEGIN IMMEDIATE", "COMMIT"]),
    ],
)
def test_only_what_is_to_be_flushed_is(tmp_path: Path, flushes: tuple[bool, ...], statements: list[str]) -> None:
    seen: list[str] = []

    async def work() -> list[UploadRow]:
        database = Database(tmp_path / "node.db")
        await database._read(lambda connection: connection.set_trace_callback(seen.append))
        try:
            saved = (database.save_upload(upload(str(number)), flush=flush) for number, flush in enumerate(flushes))
            await asyncio.gather(*saved)
            return await database.uploads()
        finally:
            database.close()

    assert len(asyncio.run(work())) == len(flushes)
    assert [text for text in seen if text.partition(" ")[0] in ("PRAGMA", "BEGIN", "COMMIT")] == statements
