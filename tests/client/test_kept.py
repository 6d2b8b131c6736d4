"""What is left of an accelerator that was kept or stopped, and instances ended by their id."""

from __future__ import annotations

from pathlib import Path

import pytest
from instances import list_instances

from acceleratorAPI import Accelerator
from acceleratorAPI.client.instance import end_instance
from acceleratorAPI.errors import InstanceNotFoundError
from acceleratorAPI.protocol.stop import StopMode


@pytest.mark.parametrize("mode", [StopMode.KEEP, StopMode.STOP])
def test_the_configuration_is_there_for_who_comes_next(mode: StopMode, home: Path) -> None:
    corpus = b"cat,dog\n"
    first = Accelerator("axonerve_hyperfire")
    made = first.start(corpus)
    first.stop(mode)
    with Accelerator("axonerve_hyperfire", instance_id=made.instance_id, stop_mode=StopMode.TERM) as accelerator:
        assert accelerator.start().reused
        assert accelerator.process(b"a cat").data == b"a dog"
    assert list_instances() == []


def test_an_instance_is_ended_by_its_id(home: Path) -> None:
    made = Accelerator("cast_gzip").start(stop_mode=StopMode.KEEP)
    identifier = made.instance_id
    assert identifier is not None
    assert "kept" in end_instance(identifier, StopMode.KEEP)
    assert "stopped" in end_instance(identifier, StopMode.STOP)
    assert [instance.status for instance in list_instances()] == ["stopped"]
    assert "terminated" in end_instance(identifier, StopMode.TERM)
    assert list_instances() == []
    with pytest.raises(InstanceNotFoundError):
        end_instance(identifier, StopMode.TERM)
