"""Providers by name."""

from __future__ import annotations

import importlib.metadata

import pytest

from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import ConfigurationError, ProviderUnknownError
from acceleratorAPI.providers import registry
from acceleratorAPI.providers.base import Provider
from acceleratorAPI.providers.local import LocalProvider


@pytest.fixture
def configuration(home: object) -> Configuration:
    return Configuration.load()


@pytest.mark.parametrize("name", ["LOCAL", "local", " Local "])
def test_names_have_no_case(name: str, configuration: Configuration) -> None:
    assert isinstance(registry.get_provider(name, configuration), LocalProvider)


def test_the_table_is_sorted_and_read_only() -> None:
    assert list(registry.PROVIDERS) == sorted(registry.PROVIDERS)
    with pytest.raises(TypeError):
        registry.PROVIDERS["X"] = "y"  # type: ignore[index]


@pytest.mark.parametrize("name", ["ovh", "OpenStack"])
def test_a_cloud_that_is_not_there_yet_is_one_clear_line(name: str, configuration: Configuration) -> None:
    with pytest.raises(ProviderUnknownError) as caught:
        registry.get_provider(name, configuration)
    assert str(caught.value) == f"provider = {name!r}: this version has no such provider yet; use LOCAL (this machine)"
    assert isinstance(caught.value, ConfigurationError)


def test_a_typo_names_the_nearest(configuration: Configuration) -> None:
    with pytest.raises(ProviderUnknownError, match="did you mean 'LOCAL'"):
        registry.get_provider("LOACL", configuration)


def test_a_package_adds_a_provider(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("Mine", "acceleratorAPI.providers.local:LocalProvider", registry.GROUP)

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return [point] if group == registry.GROUP else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert registry.provider_names() == ["AWS", "LOCAL", "MINE"]
    assert isinstance(registry.get_provider("mine", configuration), Provider)
