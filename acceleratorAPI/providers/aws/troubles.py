"""What can go wrong with a call to AWS, as data: what is done about each code, and what a person can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from acceleratorAPI.errors import InstanceError

# zone: no machine here now, ask in the next zone. region: no use in any zone of this one.
# again: nobody knows whether it was done: the same call with the same token. soon: something new is not seen yet.
# account: who asks, not what. stop: asking again is no use.
Action = Literal["zone", "region", "again", "soon", "account", "stop"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What to do about an error code: ``action`` for the program, ``advice`` for the person."""

    action: Action
    advice: str = ""


class LaunchRefusedError(InstanceError):
    """No machine here now; another zone or region may have one."""


class UnansweredError(InstanceError):
    """Nobody knows whether it was done: AWS did not answer, or not about this."""


_CAPACITY = Trouble("zone", "no zone has such a machine now: try later, or give another [csp] instance_type or regions")
_QUOTA = Trouble(
    "region",
    "the account's quota is used up: ask for more at https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"
    " (F types: 'Running On-Demand F instances'), end other instances, or give [csp] regions",
)
_AGAIN = Trouble("again", "AWS does not answer as it should: try later")
_SOON = Trouble("soon", "it was made a moment ago and AWS does not know it everywhere yet: try again")
_EXPIRED = Trouble("account", "the credentials have expired: get new ones (aws sso login), and begin again")
_CREDENTIALS = Trouble(
    "account", "check [csp] client_id and secret_id, or the credentials of the environment or ~/.aws"
)
_CLOCK = Trouble("account", "check [csp] secret_id, and this machine's clock: signatures hold for some minutes only")
_DENIED = Trouble("stop", "the account may not do this: `acceleratorapi aws policy` prints the policy that is needed")

TROUBLES: MappingProxyType[str, Trouble] = MappingProxyType(
    {
        "InsufficientInstanceCapacity": _CAPACITY,
        "InsufficientCapacity": _CAPACITY,
        "UnfulfillableCapacity": _CAPACITY,
        "InsufficientHostCapacity": _CAPACITY,
        "InsufficientFreeAddressesInSubnet": Trouble("zone", "no free address: give another [csp] subnet"),
        "Unsupported": Trouble("zone", "no zone of this region has such machines: give another [csp] region"),
        "SpotMaxPriceTooLow": Trouble("zone", "spot costs more now: use [csp] spot = no"),
        "VcpuLimitExceeded": _QUOTA,
        "InstanceLimitExceeded": _QUOTA,
        "MaxSpotInstanceCountExceeded": Trouble("region", "no more spot instances: use [csp] spot = no"),
        "PendingVerification": Trouble("region", "AWS still checks this account; it takes up to 4 hours"),
        "OptInRequired": Trouble(
            "region",
            "enable the region at https://console.aws.amazon.com/billing/home#/account, or accept the image's terms"
            " in the AWS Marketplace",
        ),
        "Blocked": Trouble("region", "AWS has blocked this account: see https://console.aws.amazon.com/support"),
        "RequestLimitExceeded": _AGAIN,
        "EC2ThrottledException": _AGAIN,
        "Throttling": _AGAIN,
        "ThrottlingException": _AGAIN,
        "InternalError": _AGAIN,
        "InternalFailure": _AGAIN,
        "Unavailable": _AGAIN,
        "ServiceUnavailable": _AGAIN,
        "InvalidGroup.NotFound": _SOON,
        "InvalidSubnetID.NotFound": _SOON,
        "InvalidKeyPair.NotFound": _SOON,
        "NoSuchEntity": _SOON,
        "UnauthorizedOperation": _DENIED,
        "AccessDenied": _DENIED,
        "AccessDeniedException": _DENIED,
        "ExpiredToken": _EXPIRED,
        "ExpiredTokenException": _EXPIRED,
        "RequestExpired": _CLOCK,
        "SignatureDoesNotMatch": _CLOCK,
        "InvalidClientTokenId": _CREDENTIALS,
        "UnrecognizedClientException": _CREDENTIALS,
        "AuthFailure": _CREDENTIALS,
        "InvalidAMIID.NotFound": Trouble("stop", "check [csp] image: an image is of one region"),
        "InvalidAMIID.Malformed": Trouble("stop", "check [csp] image"),
        "InvalidAMIID.Unavailable": Trouble("stop", "give another [csp] image"),
        "InvalidInstanceType": Trouble("stop", "check [csp] instance_type"),
        "VPCIdNotSpecified": Trouble("stop", "the region has no default VPC: give [csp] subnet"),
        "DefaultVpcDoesNotExist": Trouble("stop", "the region has no default VPC: give [csp] subnet"),
        "IdempotentParameterMismatch": Trouble("stop", "the launch was asked for twice differently: begin again"),
    }
)  # fmt: skip
_STOP = Trouble("stop")
_NO_ANSWER = Trouble("again", "check the network, [csp] region and [csp] proxy, or try later")
_NO_CREDENTIALS = Trouble(
    "account", "give [csp] client_id and secret_id, or credentials as the AWS tools take them (aws configure)"
)


def code_of(error: BaseException) -> str:
    """The code AWS answered with; empty when it did not answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def message_of(error: BaseException) -> str:
    """What AWS says, as one line."""
    text = str(error.response.get("Error", {}).get("Message", "")) if isinstance(error, ClientError) else str(error)
    return " ".join(text.split())


def trouble_of(error: BaseException) -> Trouble:
    """What to do about what a call raised."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return _NO_CREDENTIALS
    if isinstance(error, (EndpointConnectionError, HTTPClientError)):
        return _NO_ANSWER
    if not isinstance(error, ClientError):
        return _STOP
    code = code_of(error)
    if code == "InvalidParameterValue" and "iamInstanceProfile" in message_of(error):
        return _SOON
    if code in TROUBLES:
        return TROUBLES[code]
    return _AGAIN if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500 else _STOP


def explained(error: BaseException, doing: str) -> InstanceError:
    """What to raise: one line with what was tried, the code, what AWS says and what to do."""
    trouble = trouble_of(error)
    code = code_of(error)
    parts = [f"AWS: cannot {doing}: {code + ': ' if code else ''}{message_of(error)[:300].rstrip('.')}", trouble.advice]
    kinds = {"zone": LaunchRefusedError, "region": LaunchRefusedError, "again": UnansweredError}
    kind = kinds.get(trouble.action, InstanceError)
    return kind("; ".join(filter(None, parts)))


@contextlib.contextmanager
def trying(doing: str, *fine: str) -> Iterator[None]:
    """Raise what AWS refuses as our error; the codes ``fine`` mean that it is done already.

    Raises:
        InstanceError: ``doing`` failed.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        if code_of(error) not in fine:
            raise explained(error, doing) from error
