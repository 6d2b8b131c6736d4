"""T10: the node is killed at random moments. ``scripts/soak-faults kills`` does it a hundred times."""

from __future__ import annotations

from typing import Any

from kills import kill_at_random


def test_every_job_of_a_killed_node_ends_as_promised(nodes: Any) -> None:
    line = kill_at_random(nodes, 20)
    assert (line.survived, line.lost) == (20, 0), line
