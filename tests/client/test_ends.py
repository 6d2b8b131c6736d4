"""An end that cannot be carried out: it can be asked for again, and the lease is not renewed for ever."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acceleratorAPI.client import reports as reports_module
from acceleratorAPI.client import session as session_module
from acceleratorAPI.client.reports import Reports
from acceleratorAPI.client.session import Session
from acceleratorAPI.errors import InstanceError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.protocol.usage import BatchAnswer, SignedReport


class Keeper:
    ended = False

    def end(self) -> None:
        self.ended = True


class Provider:
    """Fails as it is told, once for each."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures, self.terminated = list(failures), 0

    def terminate(self, _: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.terminated += 1


class Node:
    """Has one report to hand over."""

    url = "https://node"

    def twin(self) -> Node:
        return self

    def close(self) -> None:
        pass

    def unsent_usage(self, *, cancel: bool) -> list[SignedReport]:
        assert cancel
        return [REPORT]


REPORT = SignedReport(store="https://store", signature="s", body=json.dumps([{"id": "1"}, {"id": "2"}]))


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Keeper:
    found = Keeper()
    monkeypatch.setattr(session_module, "LeaseKeeper", lambda *_: found)
    return found


def session_with(provider: Provider, reports: Reports | None = None) -> Session:
    instance = SimpleNamespace(lease_s=120, keep_s=0, stop_mode=None, id="i-1", shares_files=False)
    place: Any = SimpleNamespace(provider=provider, instance=instance, node=Node(), origin="made")
    return Session(place, "cast_gzip", reports)


def test_a_failed_end_leaves_the_instance_to_its_lease(keeper: Keeper) -> None:
    session = session_with(Provider(InstanceError("no credentials any more")))
    session.close()
    assert keeper.ended
    assert not session.ended


def test_an_interrupted_end_can_be_asked_for_again(keeper: Keeper) -> None:
    provider = Provider(KeyboardInterrupt())
    session = session_with(provider)
    with pytest.raises(KeyboardInterrupt):
        session.close()
    session.close()
    assert provider.terminated == 1
    assert keeper.ended


def test_usage_that_cannot_be_kept_does_not_keep_the_instance(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reports_module, "write_all", full)
    provider = Provider()
    session_with(provider, Reports(tmp_path / "reports")).close()
    assert provider.terminated == 1
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.parametrize(("told", "left"), [(["1", "2"], 0), (["1"], 1), ([], 1)])
def test_usage_is_forgotten_once_the_store_says_what_became_of_it(tmp_path: Path, told: list[str], left: int) -> None:
    reports = Reports(tmp_path)
    node: Any = Node()
    reports.take_from(node, StopMode.TERM)
    store: Any = SimpleNamespace(url="https://store", report=lambda _: BatchAnswer(accepted=told))
    reports.bring(store)
    assert len(list(tmp_path.iterdir())) == left
