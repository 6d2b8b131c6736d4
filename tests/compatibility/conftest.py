"""The nodes of ``tests/node``, for clients that we did not write."""

from __future__ import annotations

from node.conftest import node_kind, nodes

__all__ = ["node_kind", "nodes"]
