"""Nodes that run already, found to be looked at: nothing is started, made or ended."""

from __future__ import annotations

from acceleratorAPI.client.instance import Place, running_place
from acceleratorAPI.client.node import NodeClient
from acceleratorAPI.config import Configuration
from acceleratorAPI.errors import InstanceError, InstanceNotFoundError
from acceleratorAPI.providers.registry import get_provider


def find_nodes(
    configuration: Configuration, *, instance_id: str | None = None, address: str | None = None
) -> list[Place]:
    """The node named by id or address, else the one the configuration names, else those of all running instances.

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
            url = address if "://" in address else f"http://{address}"
            return [Place("address", NodeClient(url, configuration.get("general", "node_token") or ""))]
    running = [instance for instance in provider.instances() if instance.status == "running"]
    if not running:
        raise InstanceNotFoundError(f"no {provider.name} instance runs; name a node by its address")
    return [running_place(provider, instance) for instance in running]
