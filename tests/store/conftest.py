"""Fixtures of the store's tests; its database is made anew for a run, and rolled back after each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tenants import Tenant, make_tenant  # first: it makes Django ready

from django.core.cache import cache  # isort: skip


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    """Rate limits count anew in every test."""
    cache.clear()


@pytest.fixture
def tenant(db: None) -> Callable[..., Tenant]:
    """Makes tenants."""
    return make_tenant
