"""Nodes that run already, found to be looked at: nothing is started, made or ended."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from acceleratorAPI.client.instance import Place, node_at, running_place
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.client.trust import Trust
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import InstanceError, InstanceNotFoundError
from acceleratorAPI.providers import processes
from acceleratorAPI.providers.registry import get_provider


def find_nodes(
    configuration: Configuration, *, served: Path, instance_id: str | None = None, address: str | None = None
) -> list[Place]:
    """The node named by id or address, else the one the configuration names, else all that run.

    Args:
        configuration: names the provider, and what opens a node that is none of its instances.
        served: state folder of a node that may have been started by hand on this machine.
        instance_id: of an instance.
        address: of an instance or a bare node.

    Raises:
        InstanceNotFoundError: there is none.
        InstanceError: the instance does not run.
    """
    provider = get_provider(configuration.get("csp", "provider"), configuration)
    if not instance_id and not address:
        instance_id, address = configuration.get("csp", "instance_id"), configuration.get("csp", "instance_ip")
    if instance_id:
        instance = provider.find(instance_id=instance_id)
        if instance.status != "running":
            raise InstanceError(f"instance {instance.id} is {instance.status}: start it first")
        return [running_place(provider, instance)]
    if address:
        try:
            return [running_place(provider, provider.find(address=address))]
        except InstanceNotFoundError:
            here = None if configuration.get("general", "node_token") else _served(served, configuration)
            if here is not None and _netloc(address) == _netloc(here.node.url):
                return [here]
            return [Place("address", node_at(address, configuration))]
    found = [running_place(provider, instance) for instance in provider.instances() if instance.status == "running"]
    here = _served(served, configuration)
    if here is not None:
        found.append(here)
    if not found:
        raise InstanceNotFoundError(
            f"no {provider.name} instance runs, and no node in {str(served)!r}; name a node by its address"
        )
    return found


def served_node(folder: Path, configuration: Configuration) -> Place:
    """The node that was started on this machine with that state folder.

    Raises:
        InstanceNotFoundError: none runs there.
    """
    place = _served(folder, configuration)
    if place is None:
        raise InstanceNotFoundError(f"no node runs with the state folder {str(folder)!r}: start it, or name another")
    return place


def _served(folder: Path, configuration: Configuration) -> Place | None:
    """The living node of a state folder, opened with what lies there unless the configuration says with what."""
    try:
        record = json.loads((folder / "node.json").read_text(encoding="utf-8"))
        process = processes.ProcessId(int(record["pid"]), float(record["create_time"]))
        url, fingerprint = str(record["url"]), str(record.get("fingerprint", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if processes.find(process) is None:
        return None
    token = configuration.get("general", "node_token") or _token(folder)
    trust = Trust(fingerprint, configuration.get("general", "client_certificate"))
    return Place("address", NodeClient(url, token, trust=trust))


def _token(folder: Path) -> str:
    """The one the node made for its owner; none when it was given others."""
    try:
        return (folder / "token").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _netloc(address: str) -> str:
    netloc = urlsplit(address if "://" in address else f"//{address}").netloc.lower()
    return netloc.replace("localhost", "127.0.0.1")
