"""``acceleratorapi aws policy`` and ``image``: what an AWS account is to be prepared with."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from acceleratorAPI.cli import output

app = typer.Typer(no_args_is_help=True, help="What an AWS account is to be prepared with.")

POLICY_EXAMPLES = """
Examples:

  acceleratorapi aws policy > policy.json           for what the settings ask for

  acceleratorapi aws policy --all                   for all that settings could ask for
"""

IMAGE_EXAMPLES = """
Examples:

  acceleratorapi image > install.sh

  acceleratorapi image --package 'acceleratorAPI\\[otel]' > install.sh
"""

Conf = Annotated[str | None, typer.Option(metavar="FILE", help="Read this accelerator.conf.")]


@app.command(epilog=POLICY_EXAMPLES)
def policy(
    everything: Annotated[bool, typer.Option("--all", help="For every setting there is.")] = False, conf: Conf = None
) -> None:
    """Print the least IAM policy that the provider AWS needs."""
    from acceleratorAPI.config import Configuration
    from acceleratorAPI.providers.aws.policy import policy as least

    output.document(least(Configuration.load(conf), everything=everything))


def image(
    package: Annotated[str | None, typer.Option(help="What to install; default: this version.")] = None,
) -> None:
    """Print the script that makes an image's machines have this package, so that they install nothing."""
    from acceleratorAPI.providers.aws.userdata import image_script

    typer.echo(image_script(package or f"acceleratorAPI=={version('acceleratorAPI')}"), nl=False)
    output.say("run it as root on a machine, make an image of that and call it acceleratorapi-...: it is then used")
