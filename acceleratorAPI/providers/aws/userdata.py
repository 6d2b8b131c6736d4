"""The script an instance runs at its first boot: the deadline first, then the lease's guard, the package, the node."""

from __future__ import annotations

import base64
import gzip
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.files import access_error
from acceleratorAPI.protocol.tokens import TokenList, TokenRecord

if TYPE_CHECKING:  # of the account: not needed to write a script
    from acceleratorAPI.providers.aws.package import Package
    from acceleratorAPI.providers.certificates import Certificate

# From boot until a client must have asked for a lease.
GRACE_MINUTES = 15
LIMIT_BYTES = 16384


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """What the node of an instance is made of.

    Attributes:
        token: the digest of the client's token; the token itself stays with the client.
        init_script: of the user, run before the node is installed.
        max_hours: after which the machine ends in any case; 0 for no limit.
        spot: AWS may take the machine back, which its node is then told.
        options: more options of the node.
    """

    accelerator: str
    port: int
    certificate: Certificate
    token: TokenRecord
    package: Package
    init_script: Path | None = None
    max_hours: int = 0
    spot: bool = False
    options: tuple[str, ...] = ()


def render(setup: NodeSetup) -> str:
    """The script.

    Raises:
        ConfigurationError: it is larger than AWS takes.
        FileAccessError: the init script cannot be read.
    """
    if not re.fullmatch(r"[\w.-]+", setup.accelerator):
        raise ConfigurationError(f"accelerator {setup.accelerator!r}: no name of a function")
    init = ""
    if setup.init_script is not None:
        try:
            init = base64.b64encode(gzip.compress(setup.init_script.read_bytes(), mtime=0)).decode()
        except OSError as error:
            raise access_error("read", setup.init_script, error) from error
    values = {
        "GRACE_MINUTES": str(GRACE_MINUTES),
        "ACCELERATOR": setup.accelerator,
        "PORT": str(setup.port),
        "PACKAGE": setup.package.requirement,
        "PACKAGE_URL": setup.package.url,
        "PACKAGE_SHA256": setup.package.sha256,
        "TOKENS": TokenList(tokens=[setup.token]).model_dump_json(),
        "CERTIFICATE": setup.certificate.certificate.decode("ascii").strip(),
        "KEY": setup.certificate.key.decode("ascii").strip(),
        "NODE_OPTIONS": shlex.join(setup.options),
        "INIT_SCRIPT": init,
        "SPOT_WATCH": _template("spot.py.in").strip() if setup.spot else "",
    }
    assignments = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    guard = _template("guard.sh").strip().replace("@MAX_SECONDS@", str(setup.max_hours * 3600))
    script = _template("node.sh").replace("@GUARD@", guard).replace("@INSTALL@", _template("install.sh").strip())
    script = script.replace("@GRACE_MINUTES@", str(GRACE_MINUTES)).replace("@VALUES@", assignments)
    if len(script.encode()) > LIMIT_BYTES:
        raise ConfigurationError(
            f"[csp] init_script = {str(setup.init_script)!r}: with it the user data has {len(script.encode())} bytes,"
            f" AWS takes {LIMIT_BYTES}: let it fetch what it needs"
        )
    return script


def image_script(requirement: str) -> str:
    """What to run as root on a machine whose image shall have the package: its instances then install nothing."""
    say = 'say() { echo "$*"; }\nset -euo pipefail'
    values = f"PACKAGE={shlex.quote(requirement)}\nPACKAGE_URL=''\nPYTHON=/opt/acceleratorapi/bin/python"
    return f"#!/bin/bash\n{say}\n{values}\n{_template('install.sh')}"


def _template(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
