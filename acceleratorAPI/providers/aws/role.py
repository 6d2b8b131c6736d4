"""The role of ``role``: made only when asked for, and then it allows nothing until its owner says otherwise."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from acceleratorAPI.errors import InstanceError
from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.identity import Identity
from acceleratorAPI.providers.aws.troubles import code_of, trying

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
DESCRIPTION = "Of instances of acceleratorAPI; attach what they may do"


def ensure_role(cloud: Cloud, name: str, identity: Identity, tags: list[dict[str, str]]) -> None:
    """See that there is an instance profile of that name with its role. Each step may be done already.

    Raises:
        InstanceError: AWS refuses, or the profile has another role.
    """
    iam = cloud.client("iam")
    with trying(f"use [csp] role = {name!r}"):
        roles = _roles_of(cloud, name)
        if roles:
            return
    with trying(f"make the role {name!r}", "EntityAlreadyExists"):
        iam.create_role(
            Path=_path(identity),
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(_TRUST),
            Description=DESCRIPTION,
            Tags=tags,
        )
    with trying(f"make the instance profile {name!r}", "EntityAlreadyExists"):
        iam.create_instance_profile(Path=_path(identity), InstanceProfileName=name, Tags=tags)
    # A profile holds one role: LimitExceeded says that it has one, which must be ours.
    with trying(f"put the role {name!r} into its profile", "LimitExceeded", "EntityAlreadyExists"):
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    with trying(f"use [csp] role = {name!r}"):
        roles = _roles_of(cloud, name)
    if roles and name not in roles:
        raise InstanceError(f"[csp] role = {name!r}: the instance profile of that name has another role, {roles[0]!r}")


def complete_roles(cloud: Cloud, identity: Identity, tags: list[dict[str, str]], *, dry_run: bool) -> list[str]:
    """Finish the roles whose making was interrupted; which those were.

    They are not removed: another client may be making them at this moment.

    Raises:
        InstanceError: AWS refuses.
    """
    done = []
    with trying("list the roles"):
        pages = cloud.client("iam").get_paginator("list_roles").paginate(PathPrefix=_path(identity))
        names = [role["RoleName"] for page in pages for role in page["Roles"]]
        unfinished = [name for name in names if not _roles_of(cloud, name)]
    for name in unfinished:
        done.append(f"role {name}: its instance profile is made whole")
        if not dry_run:
            ensure_role(cloud, name, identity, tags)
    return done


def _path(identity: Identity) -> str:
    """Where ours are, to be found again among all roles of the account."""
    return f"/acceleratorAPI/{identity.owner}/"


def _roles_of(cloud: Cloud, name: str) -> list[str] | None:
    try:
        profile = cloud.client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    except ClientError as error:
        if code_of(error) == "NoSuchEntity":
            return None
        raise
    return [role["RoleName"] for role in profile["Roles"]]
