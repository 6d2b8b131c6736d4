"""The security group: one for each user and network, which stays; its rules let in who uses an instance now."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import trying

# Only rules that say this and whose they are are ever removed: a group may be the user's own, or shared.
_MARK = "acceleratorAPI client of {owner}"
_SSH = 22


def ensure_group(cloud: Cloud, region: str, vpc: str, name: str, tags: list[dict[str, str]]) -> str:
    """The id of the security group of that name in ``vpc``, made when there is none.

    Raises:
        InstanceError: AWS refuses.
    """
    ec2 = cloud.ec2(region)

    def found() -> str:
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        return str(groups[0]["GroupId"]) if groups else ""

    with trying(f"use [csp] security_group = {name!r} in {region}"):
        if group := found():
            return group
    made: Any = None
    with trying(f"make the security group {name!r} in {region}", "InvalidGroup.Duplicate"):
        made = ec2.create_security_group(
            GroupName=name,
            Description="acceleratorAPI: who may reach the nodes",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )
    if made is not None:
        return str(made["GroupId"])
    # Another client made it at the same moment, or the answer to our first try was lost.
    with trying(f"use the security group {name!r} in {region}"):
        return found()


def let_in(cloud: Cloud, region: str, group: str, owner: str, networks: Iterable[str], port: int, *, ssh: bool) -> None:
    """Let these networks reach the node, and the shell when asked. Done already is fine.

    Raises:
        InstanceError: AWS refuses.
    """
    ec2 = cloud.ec2(region)
    for network in networks:
        for one in (port, _SSH) if ssh else (port,):
            # One rule a call: of several, a duplicate would refuse all.
            with trying(f"let {network} reach port {one}", "InvalidPermission.Duplicate"):
                ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[_permission(network, one, owner)])


def prune(cloud: Cloud, region: str, owner: str, wanted: Mapping[str, set[str]], *, dry_run: bool = False) -> list[str]:
    """Remove the rules for networks of ``owner`` that are not ``wanted`` any more; what they allowed, a line each.

    Args:
        cloud: the account.
        region: whose groups are looked at.
        owner: whose rules.
        wanted: networks by the group that must let them in.
        dry_run: only say.

    Raises:
        InstanceError: AWS refuses.
    """
    ec2 = cloud.ec2(region)
    with trying(f"look at the security groups of {region}"):
        pages = ec2.get_paginator("describe_security_groups").paginate()
        rules = [(g["GroupId"], *rule) for page in pages for g in page["SecurityGroups"] for rule in _rules(g, owner)]
    removed = []
    for group, network, port in rules:
        if network in wanted.get(group, ()):
            continue
        removed.append(f"rule of {group} in {region}: {network} to port {port}")
        if not dry_run:
            with trying(f"remove a rule of {group}", "InvalidPermission.NotFound", "InvalidGroup.NotFound"):
                ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[_permission(network, port, owner)])
    return removed


def _rules(group: Mapping[str, Any], owner: str) -> list[tuple[str, int]]:
    """Network and port of that owner's rules."""
    mark = _MARK.format(owner=owner)
    return [
        (rule[kind], permission["FromPort"])
        for permission in group["IpPermissions"]
        for ranges, kind in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"))
        for rule in permission.get(ranges, [])
        if rule.get("Description") == mark
    ]


def _permission(network: str, port: int, owner: str) -> dict[str, Any]:
    six = ipaddress.ip_network(network).version == 6
    ranges = {"CidrIpv6" if six else "CidrIp": network, "Description": _MARK.format(owner=owner)}
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "Ipv6Ranges" if six else "IpRanges": [ranges]}
