"""The journal: what it says of instances, and of the processes that began them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.journal import FILE, Journal


def test_an_entry_from_its_intent_to_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    assert journal.entries("AWS") == []
    journal.begin("s1", "AWS", "123", "node-token")
    journal.intend("s1", "us-east-1", "s1-1", '{"ImageId": "ami-1"}')
    (entry,) = journal.entries("AWS")
    assert (entry.region, entry.launch_token, entry.state, entry.instance_id) == ("us-east-1", "s1-1", "intent", "")
    assert entry.request == '{"ImageId": "ami-1"}'
    assert not entry.owner_is_gone()
    journal.made("s1", "i-1")
    journal.note("s1", "ready", StopMode.KEEP)
    found = journal.of_instance("AWS", "i-1")
    assert found is not None
    assert (found.state, found.stop_mode, found.request, found.node_token) == ("ready", StopMode.KEEP, "", "node-token")
    assert "node-token" not in repr(found)
    assert journal.entries("OTHER") == []
    journal.close("s1")
    journal.close("s1")
    assert journal.entries("AWS") == []
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


def test_the_owner_that_was_killed_is_gone_and_another_may_take_over(tmp_path: Path) -> None:
    code = (
        f"from acceleratorAPI.providers.journal import Journal; Journal(__import__('pathlib').Path({str(tmp_path)!r}))"
    )
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", f"{code}.begin('s1', 'AWS', '123', 't'); {kill}"], check=False, timeout=60)
    journal = Journal(tmp_path)
    assert [entry.owner_is_gone() for entry in journal.entries("AWS")] == [True]
    journal.take("s1")
    assert [entry.owner_is_gone() for entry in journal.entries("AWS")] == [False]


def test_nothing_is_known_of_the_processes_of_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    monkeypatch.setattr("acceleratorAPI.providers.journal.this_host", lambda: "other/boot")
    journal.begin("s1", "AWS", "123", "t")
    monkeypatch.setattr("acceleratorAPI.providers.journal.this_host", lambda: "here/boot")
    assert not journal.entries("AWS")[0].owner_is_gone()
    monkeypatch.setattr("acceleratorAPI.providers.journal.this_host", lambda: "other/later")
    assert journal.entries("AWS")[0].owner_is_gone()


def test_a_journal_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(InstanceError, match=r"journal\.db cannot be used"):
        Journal(tmp_path).entries("AWS")
