"""``python -m acceleratorAPI.node``: the command line of a node."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.node.limits import DEFAULTS, Limits
from acceleratorAPI.node.settings import Settings, cores, default_state

_EXAMPLES = """examples:
  python -m acceleratorAPI.node
      listen on 127.0.0.1:8000; the token is in the state folder's file "token"
  python -m acceleratorAPI.node --port 0 --auth none --accelerator cast_gzip
      a free port, no token, cast_gzip for clients that name no function
  python -m acceleratorAPI.node --host 0.0.0.0 --token-file /etc/node.token --public-url https://node.example.org
      behind a proxy that speaks TLS
  python -m acceleratorAPI.node --host 0.0.0.0 --tls-cert tls-cert.pem --tls-key tls-key.pem
      TLS by itself; "acceleratorapi node certificate" makes the two files
  python -m acceleratorAPI.node --owner $$ --files-under "$HOME/data"
      end with this shell; jobs may read and write files below ~/data in place
  python -m acceleratorAPI.node --urls https,s3 --urls-under https://data.example.org --urls-under s3://my-bucket
      jobs may name files of that host and bucket, which the node reads and writes itself

exit codes: 0 ended as asked, 2 a setting cannot be used
"""


# Less and Python does not come up.
_LEAST_MEMORY_BYTES = 256 << 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acceleratorAPI.node",
        description="Serve the installed functions over the REST API.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8000, help="TCP port, 0 for a free one (%(default)s)")
    add("--state", type=Path, metavar="DIR", help=f"folder of token, database and spool ({default_state()})")
    add("--accelerator", metavar="NAME", help="the function of requests that name none")
    add("--auth", choices=("token", "none"), default="token", help="none: on loopback only (%(default)s)")
    add("--token-file", type=Path, metavar="FILE", help="read the token there (DIR/token, made at the first start)")
    add("--owner", type=int, metavar="PID", help="end when this process is gone")
    add("--at-end", choices=("terminate", "stop"), default="terminate",
        help="when the owner is gone: remove the state folder, or keep it (%(default)s)")  # fmt: skip
    add("--lease-file", type=Path, metavar="FILE",
        help="write there until when the machine is wanted, for the guard that ends it")  # fmt: skip
    add("--notice-file", type=Path, metavar="FILE",
        help="take no more work once it is there; it says why the machine is about to be taken away")  # fmt: skip
    add("--files-under", type=Path, metavar="DIR", action="append", default=[],
        help="jobs may read and write files below DIR in place; may be repeated")  # fmt: skip
    add("--urls", metavar="SCHEMES", default="",
        help="the node itself may read and write these kinds of URLs for jobs: https,s3,gs (none)")  # fmt: skip
    add("--urls-under", metavar="ORIGIN", action="append", default=[],
        help="only in https://host[:port], https://*.domain, s3://bucket; may be repeated (all, port 443)")  # fmt: skip
    add("--urls-allow-address", metavar="NETWORK", action="append", default=[],
        help="https URLs may lead there although it is not public, such as 10.1.2.0/24; may be repeated")  # fmt: skip
    add("--sandbox", choices=("auto", "off", "require"), default="auto",
        help="no network and no other files for functions, where the kernel can; or insist (%(default)s)")  # fmt: skip
    add("--sandbox-allow", type=Path, metavar="PATH", action="append", default=[],
        help="a file, folder or device that functions may use besides; may be repeated")  # fmt: skip
    add("--worker-memory", type=int, metavar="BYTES", help="address space of a worker process (no limit)")
    add("--slots", type=int, default=min(4, cores()), metavar="N", help="jobs at the same time (%(default)s)")
    add("--threads", type=int, default=cores(), metavar="N", help="cores one job may use (%(default)s)")
    add("--queue", type=int, default=64, metavar="N", help="jobs that may wait (%(default)s)")
    add("--client-jobs", type=int, metavar="N", help="jobs of one token that may wait or run (no limit of its own)")
    add("--client-uploads", type=int, metavar="N", help="incomplete uploads one token may have (no limit)")
    add("--client-bytes", type=int, metavar="BYTES", help="bytes of one token that may lie in the spool (no limit)")
    add("--connections", type=int, default=DEFAULTS.connections, metavar="N",
        help="connections at the same time (%(default)s)")  # fmt: skip
    add("--body-idle", type=float, default=DEFAULTS.body_idle_s, metavar="S",
        help="seconds an upload may be silent (%(default)g)")  # fmt: skip
    add("--body-rate", type=int, default=DEFAULTS.body_rate, metavar="N",
        help="bytes a second an upload brings at least, on average; 0 for any (%(default)s)")  # fmt: skip
    add("--store", metavar="URL", help="take configurations with an access key of this store only, and report to it")
    add(
        "--unsent",
        type=Path,
        metavar="DIR",
        help="send what nodes of this store left there, and leave there what it lacks when the folder is removed",
    )
    add("--public-url", metavar="URL", help="how clients reach the node, for the URLs in its answers")
    add("--tls-cert", type=Path, metavar="FILE", help="speak TLS with this certificate (PEM)")
    add("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    add("--tls-client-ca", type=Path, metavar="FILE", help="clients must show a certificate this PEM file vouches for")
    add("--insecure", action="store_true", help="plain HTTP on --host is meant, though it is no loopback address")
    add("--max-output", type=int, metavar="BYTES",
        help="end a job whose output grows beyond this, a decompression bomb, say (no limit)")  # fmt: skip
    add("--drain", type=float, default=30.0, dest="drain_s", metavar="S",
        help="time for jobs after SIGTERM; those left begin again at the next start (%(default)s)")  # fmt: skip
    add("--keep-results", type=float, default=7 * 86400.0, dest="keep_results_s", metavar="S",
        help="how long the result of an ended job stays (%(default)s)")  # fmt: skip
    add("--upload-lifetime", type=float, default=86400.0, dest="upload_lifetime_s", metavar="S",
        help="how long an upload stays that nothing is added to (%(default)s)")  # fmt: skip
    add("--log-format", choices=("json", "text"), help="of the log on standard error (text on a terminal, else json)")
    add("--access-log", action="store_true", help="also log every request")
    add("--legacy-profiling", action="store_true", help="also fill FPGA-named profiling fields, with CPU figures")
    return parser


def settings_of(argv: Sequence[str] | None = None) -> Settings:
    """The settings a command line asks for; ends the process with 2 and a message when it is malformed.

    Raises:
        ConfigurationError: a value is not usable.
    """
    values = vars(_parser().parse_args(argv))
    values["urls"] = tuple(scheme for scheme in values["urls"].replace(" ", "").lower().split(",") if scheme)
    for name, least in (("slots", 1), ("threads", 1), ("connections", 1), ("body_idle", 1), ("body_rate", 0)):
        if not values[name] >= least:
            raise ConfigurationError(f"--{name.replace('_', '-')} {values[name]}: use {least} or more")
    if values["worker_memory"] is not None and values["worker_memory"] < _LEAST_MEMORY_BYTES:
        raise ConfigurationError(f"--worker-memory {values['worker_memory']}: use {_LEAST_MEMORY_BYTES} or more")
    for name in ("files_under", "sandbox_allow", "urls_under", "urls_allow_address"):
        values[name] = tuple(values[name])
    limits = Limits(
        connections=values.pop("connections"),
        body_idle_s=values.pop("body_idle"),
        body_rate=values.pop("body_rate"),
    )
    return Settings(**values, limits=limits)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node; the exit code."""
    try:
        settings = settings_of(argv)
        # Not before the arguments are read: --help and mistakes need no server.
        from acceleratorAPI.node.serve import serve

        return serve(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"acceleratorAPI.node: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
