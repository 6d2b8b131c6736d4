"""The least an account must be allowed, for a user to paste; a test compares it with the calls that are really made."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from acceleratorAPI.config import Configuration
from acceleratorAPI.providers.aws import tags

# Nothing here can be limited to resources that are ours: it only looks, or makes what has no name yet.
_LOOK = (
    "ec2:DescribeImages", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeInstances",
    "ec2:DescribeRegions", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:GetConsoleOutput",
    "pricing:GetProducts", "servicequotas:GetServiceQuota", "ssm:GetParameter", "sts:GetCallerIdentity",
)  # fmt: skip
_MAKE = (
    "ec2:RunInstances",
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:RevokeSecurityGroupIngress",
)
_OWN = ("ec2:ModifyInstanceAttribute", "ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances")
_TAG = "ec2:CreateTags"
_KEYS = ("ec2:DescribeKeyPairs", "ec2:ImportKeyPair")
_SPOT = ("ec2:DescribeSpotPriceHistory",)
_FPGA = ("ec2:DescribeFpgaImages",)
_ROLE = (
    "iam:AddRoleToInstanceProfile", "iam:CreateInstanceProfile", "iam:CreateRole", "iam:GetInstanceProfile",
    "iam:ListRoles", "iam:TagInstanceProfile", "iam:TagRole",
)  # fmt: skip
_BUCKET = ("s3:GetObject", "s3:PutObject")


def policy(configuration: Configuration, *, everything: bool = False) -> dict[str, Any]:
    """An IAM policy for what the settings ask for, or for all that could be asked for."""
    get = configuration.get

    def asked(*keys: str) -> bool:
        return everything or any(bool(get("csp", key)) for key in keys)

    # A store's catalogue may name an image, too.
    fpga = asked("fpga_image") or bool(get("accelize", "url"))
    look = [*_LOOK, *(_SPOT if asked("spot") else ()), *(_FPGA if fpga else ())]
    make = [*_MAKE, *(_KEYS if asked("ssh_key") else ())]
    ours = {"StringLike": {f"aws:ResourceTag/{tags.OWNER}": "*"}}
    born = {"StringEquals": {"ec2:CreateAction": ["RunInstances", "CreateSecurityGroup", "ImportKeyPair"]}}
    statements = [
        _allow("Look", look),
        _allow("Make", make),
        _allow("TagWhatIsMade", [_TAG], condition=born),
        _allow("ChangeOnlyOurs", [_TAG, *_OWN], condition=ours),
    ]
    if asked("role"):
        name = get("csp", "role") or "*"
        roles = [
            f"arn:aws:iam::*:role/acceleratorAPI/*/{name}",
            f"arn:aws:iam::*:instance-profile/acceleratorAPI/*/{name}",
        ]
        statements.append(_allow("Role", _ROLE, [*roles, "arn:aws:iam::*:role/acceleratorAPI/*"]))
        passed = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
        statements.append(_allow("PassRole", ["iam:PassRole"], [f"arn:aws:iam::*:role/*{name}"], passed))
    given = urlsplit(get("csp", "node_package") or "")
    if given.scheme == "s3":
        statements.append(_allow("Wheel", ["s3:GetObject"], [f"arn:aws:s3:::{given.netloc}{given.path}"]))
    if asked("node_bucket"):
        statements.append(
            _allow("Bucket", _BUCKET, [f"arn:aws:s3:::{get('csp', 'node_bucket') or '*'}/acceleratorapi/*"])
        )
    if everything or get("csp", "spot"):
        spot = {"StringLike": {"iam:AWSServiceName": "spot.amazonaws.com"}}
        statements.append(_allow("SpotForTheFirstTime", ["iam:CreateServiceLinkedRole"], condition=spot))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(
    sid: str, actions: list[str] | tuple[str, ...], resources: list[str] | None = None, condition: Any = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": resources or "*"}
    return statement if condition is None else statement | {"Condition": condition}
