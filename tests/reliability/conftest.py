"""The nodes of ``tests/node``, for tests of what they survive."""

from __future__ import annotations

from node.conftest import node_kind, nodes

__all__ = ["node_kind", "nodes"]
