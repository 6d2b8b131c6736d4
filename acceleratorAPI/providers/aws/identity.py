"""Who asks: the account, and the name that all we make for this user begins with."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from acceleratorAPI.providers.aws.cloud import Cloud
from acceleratorAPI.providers.aws.troubles import trying


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller.

    Attributes:
        account: number of the account.
        arn: of the user, or of the role without its session.
    """

    account: str
    arn: str

    @property
    def owner(self) -> str:
        """8 hexadecimal digits that stand for this user in tags; the same on every machine."""
        return hashlib.sha256(f"{self.account} {self.arn}".encode()).hexdigest()[:8]

    @property
    def prefix(self) -> str:
        """The beginning of the names of what we make."""
        return f"acceleratorAPI-{self.owner}"


def identify(cloud: Cloud) -> Identity:
    """Ask AWS who we are; also the first sign of wrong credentials.

    Raises:
        InstanceError: AWS does not take the credentials.
    """
    with trying("use the account"):
        answer = cloud.client("sts").get_caller_identity()
    arn: str = answer["Arn"]
    if role := re.match(r"(arn:[\w-]+:sts::\d+:assumed-role/[^/]+)/", arn):
        arn = role[1]
    return Identity(answer["Account"], arn)
