"""Which instance an accelerator uses: one made for it, one given by id or address, or a bare node's address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.reports import Reports
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import InstanceError, InstanceNotFoundError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.providers.base import Instance, InstanceSpec, Provider
from acceleratorAPI.providers.registry import get_provider

Origin = Literal["made", "restarted", "found", "address"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the work is done.

    Attributes:
        origin: how we came to it; an ``address`` has neither provider nor instance.
        node: its REST API.
    """

    origin: Origin
    node: NodeClient
    provider: Provider | None = None
    instance: Instance | None = None


def end_instance(instance_id: str, mode: StopMode, *, provider: str | None = None) -> str:
    """End an instance by its id, whoever made it; one line that says what became of it.

    Raises:
        InstanceNotFoundError: there is none of that id.
        InstanceError: it could not be ended.
    """
    configuration = Configuration.load(None, {("csp", "provider"): provider})
    found = get_provider(configuration.get("csp", "provider"), configuration)
    instance = found.find(instance_id=instance_id)
    reports = Reports.of(configuration)
    if reports is not None and instance.status == "running" and not instance.shares_files and mode is not StopMode.KEEP:
        reports.take_from(_node(found, instance), mode)
    if mode is StopMode.TERM:
        found.terminate(instance)
        return f"{instance_id} is terminated"
    if mode is StopMode.STOP:
        found.stop(instance)
        return f"{instance_id} is stopped"
    return f"{instance_id} is kept at {instance.url}"


def acquire(configuration: Configuration, accelerator: str, store: StoreClient | None = None) -> Place:
    """The instance the configuration asks for, its node answering; a new one is made as the store's catalogue says.

    Raises:
        ProviderUnknownError: no such provider.
        InstanceNotFoundError: no such instance.
        InstanceError: it could not be made or started.
    """
    provider = get_provider(configuration.get("csp", "provider"), configuration)
    instance_id = configuration.get("csp", "instance_id")
    address = configuration.get("csp", "instance_ip")
    if instance_id:
        return _running(provider, provider.find(instance_id=instance_id))
    if address:
        try:
            return _running(provider, provider.find(address=address))
        except InstanceNotFoundError:
            return Place("address", node_at(address, configuration))
    needs = {}
    if store is not None and provider.has_needs:
        needs = store.requirements().get(provider.name, {}).get(accelerator, {})
    instance = provider.create(InstanceSpec(accelerator, os.getpid(), needs))
    return Place("made", _node(provider, instance), provider, instance)


def _running(provider: Provider, instance: Instance) -> Place:
    origin: Origin = "found"
    if instance.status == "stopped":
        instance = provider.start(instance, os.getpid())
        origin = "restarted"
    if instance.status != "running":
        raise InstanceError(f"instance {instance.id} is still {instance.status}: try again in a moment")
    return Place(origin, _node(provider, instance), provider, instance)


def running_place(provider: Provider, instance: Instance) -> Place:
    """An instance that runs, as it was found."""
    return Place("found", _node(provider, instance), provider, instance)


def node_at(address: str, configuration: Configuration) -> NodeClient:
    """The node at an address that is no instance's, opened with the token and trust of the configuration."""
    fingerprint = configuration.get("general", "node_fingerprint") or ""
    url = address if "://" in address else f"{'https' if fingerprint else 'http'}://{address}"
    trust = Trust(fingerprint, configuration.get("general", "client_certificate"))
    return NodeClient(url, configuration.get("general", "node_token") or "", trust=trust)


def _node(provider: Provider, instance: Instance) -> NodeClient:
    return NodeClient(instance.url, instance.token, lambda: provider.diagnose(instance), Trust(instance.fingerprint))
