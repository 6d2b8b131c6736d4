"""Settings: the table of all there are, and where each value comes from. Nothing here acts on a setting.

Arguments beat environment variables, which beat ``accelerator.conf``, which beats the defaults.
"""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from acceleratorAPI.errors import ConfigurationError, ParameterError, nearest
from acceleratorAPI.protocol.stop import StopMode

FILE_NAME = "accelerator.conf"
FILE_VARIABLE = "ACCELERATOR_CONF"
PREFIX = "ACCELERATOR_"

Kind = Literal["text", "secret", "flag", "count", "path", "stop mode", "JSON"]

_LONGEST_COUNT = 18  # digits
_FLAGS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table.

    Attributes:
        section: of ``accelerator.conf``.
        key: in that section.
        kind: how its text is read; a ``secret`` is never shown whole.
        default: the text that counts when nothing is given; empty for none.
        help: one sentence.
    """

    section: str
    key: str
    kind: Kind
    default: str
    help: str

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that hold it; those of ``general`` also go without the section's name."""
        full = f"{PREFIX}{self.section}_{self.key}".upper()
        return (full, f"{PREFIX}{self.key}".upper()) if self.section == "general" else (full,)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "general", "legacy_profiling", "flag", "no", "Also give the CPU's figures under the historical FPGA names."
    ),
    Setting("general", "max_output", "count", "", "Most bytes a job of a LOCAL node may give; no limit when empty."),
    Setting(
        "general", "node_opens_urls", "flag", "no", "The node, not the client, reads and writes URLs given to process."
    ),
    Setting(
        "general", "connections", "count", "", "How many connections to send or fetch one file over; empty: as helps."
    ),
    Setting("general", "node_token", "secret", "", "Bearer token of a node that is reached by its address alone."),
    Setting(
        "general",
        "node_fingerprint",
        "text",
        "",
        "SHA-256, in hex, of the certificate of a node that is reached by its address alone: trust exactly that one.",
    ),
    Setting(
        "general",
        "client_certificate",
        "path",
        "",
        "PEM file with certificate and key to show to a node that asks for one.",
    ),
    Setting(
        "general", "slots", "count", "", "How many jobs a LOCAL node runs at once; the node's own choice when empty."
    ),
    Setting("general", "state_dir", "path", "", "Folder of the LOCAL instances; the user's state folder when empty."),
    Setting("general", "tls", "flag", "no", "Let the LOCAL nodes speak TLS, with a certificate made for each."),
    Setting("csp", "provider", "text", "LOCAL", "Who makes the instance."),
    Setting("csp", "client_id", "text", "", "Client id of the access key of the cloud account."),
    Setting("csp", "secret_id", "secret", "", "Secret of the access key of the cloud account."),
    Setting("csp", "region", "text", "", "Region of the cloud."),
    Setting("csp", "project_id", "text", "", "Project or tenant of the cloud account."),
    Setting("csp", "instance_type", "text", "", "Kind of machine."),
    Setting("csp", "ssh_key", "text", "", "Name of the SSH key to create or reuse."),
    Setting("csp", "security_group", "text", "", "Name of the security group to create or reuse."),
    Setting("csp", "role", "text", "", "Role the instance takes."),
    Setting("csp", "image", "text", "", "Image of the instance: id, name or SSM parameter."),
    Setting(
        "csp", "node_package", "text", "", "Where an instance gets this package: requirement, URL, s3:// or a wheel."
    ),
    Setting("csp", "node_bucket", "text", "", "Bucket a wheel of this machine is copied to for the instance."),
    Setting("csp", "node_port", "count", "443", "Port of the node on the instance."),
    Setting("csp", "regions", "text", "", "Further regions to try, in this order, when one has no machine to give."),
    Setting("csp", "subnet", "text", "", "Id of the subnet; those of the default VPC when empty."),
    Setting(
        "csp", "private_address", "flag", "no", "Reach the instance by its private address; it gets no public one."
    ),
    Setting(
        "csp",
        "allow_from",
        "text",
        "",
        "Networks that may reach the node; the public address of this machine when empty.",
    ),
    Setting("csp", "proxy", "secret", "", "Proxy of the calls to the cloud: URL, perhaps with a password."),
    Setting("csp", "ssh_public_key", "path", "", "Public key file for ssh_key; the user's own when empty."),
    Setting("csp", "spot", "flag", "no", "Ask for spot capacity: cheaper, and may be taken back at any time."),
    Setting("csp", "volume_gb", "count", "64", "Size of the instance's encrypted disk."),
    Setting("csp", "tags", "text", "", "Tags of yours on all that is made: NAME=VALUE, ..."),
    Setting("csp", "init_script", "path", "", "Script that the instance runs as root before its node starts."),
    Setting("csp", "fpga_image", "text", "", "Global id of the FPGA image (agfi-...) the node is told."),
    Setting(
        "csp", "lease_minutes", "count", "5", "How long an instance outlives a client that is gone without a word."
    ),
    Setting("csp", "keep_hours", "count", "8", "How long a kept instance lives without being used."),
    Setting(
        "csp",
        "max_hours",
        "count",
        "",
        "Longest life of an instance since its boot, whatever else; no limit when empty.",
    ),
    Setting("csp", "instance_id", "text", "", "Id of an instance to reuse."),
    Setting("csp", "instance_ip", "text", "", "Address of an instance to reuse: host, host:port or URL."),
    Setting(
        "csp", "stop_mode", "stop mode", "", "0 or TERM, 1 or STOP, 2 or KEEP; empty: TERM if made, KEEP if given."
    ),
    Setting("accelize", "client_id", "text", "", "Client id of the access key of the store."),
    Setting("accelize", "secret_id", "secret", "", "Secret of the access key of the store."),
    Setting("accelize", "url", "text", "", "URL of the store that checks the access key and counts what it uses."),
    Setting("configuration", "parameters", "JSON", "", "Function parameters of every start that configures."),
    Setting("process", "parameters", "JSON", "", "Function parameters of every process."),
)

# What start and process of the Python API take besides function parameters.
_ARGUMENTS = frozenset({"self", "datafile", "stop_mode", "src", "dst", "progress"})

_TABLE = {(setting.section, setting.key): setting for setting in SETTINGS}
_SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as a person may see it: secrets are masked."""

    section: str
    key: str
    value: str
    origin: str


class Configuration:
    """The value of every setting, and where it came from."""

    def __init__(self, values: Mapping[tuple[str, str], tuple[Any, str]], files: tuple[str, ...] = ()) -> None:
        """Hold what was read.

        Args:
            values: read value and source of the settings that were given.
            files: the configuration files they were read from.
        """
        self._values = dict(values)
        self.files = files

    @classmethod
    def load(
        cls,
        config_file: str | os.PathLike[str] | None = None,
        arguments: Mapping[tuple[str, str], Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Configuration:
        """Read everything there is.

        Args:
            config_file: a configuration file; without one it is looked for in ``ACCELERATOR_CONF``,
                the current folder and the home folder, in this order.
            arguments: values by (section, key); ``None`` and ``""`` mean "not given".
            environ: the environment; the process's by default.

        Raises:
            ConfigurationError: a name is unknown, a value is wrong, or a named file is missing.
        """
        environ = os.environ if environ is None else environ
        found: dict[tuple[str, str], tuple[Any, str]] = {
            (s.section, s.key): (_read(s, s.default, "default"), "default") for s in SETTINGS if s.default
        }
        path, shown = _find_file(config_file, environ)
        if path is not None:
            found.update(_from_file(path, shown))
        found.update(_from_environment(environ))
        for name, value in (arguments or {}).items():
            if value is not None and value != "":
                found[name] = (_read(_TABLE[name], value, "argument"), "argument")
        return cls(found, (shown,) if path is not None else ())

    def get(self, section: str, key: str) -> Any:
        """The value, of the type the setting's kind says, or ``None`` when it was not given."""
        if (section, key) not in _TABLE:
            raise KeyError(f"no setting [{section}] {key}")
        return self._values.get((section, key), (None, ""))[0]

    def origin(self, section: str, key: str) -> str:
        """``argument``, ``environment NAME``, ``FILE line N``, ``default``, or empty when it was not given."""
        return self._values[section, key][1] if (section, key) in self._values else ""

    def rows(self) -> list[Row]:
        """Every setting in the table's order, for a person."""
        return [
            Row(s.section, s.key, _shown(s, self.get(s.section, s.key)), self.origin(s.section, s.key))
            for s in SETTINGS
        ]

    def __repr__(self) -> str:
        given = (f"{row.section}.{row.key}={row.value}" for row in self.rows() if row.value)
        return f"Configuration({', '.join(given)})"


def state_folder(configuration: Configuration | None = None) -> Path:
    """Where this user's instances and remembered accelerators are; it need not exist yet.

    Raises:
        ConfigurationError: it is not set, and the user has no home folder.
    """
    configuration = configuration or Configuration.load()
    given = configuration.get("general", "state_dir")
    if given:
        return Path(given)
    try:
        return platformdirs.user_state_path("acceleratorapi", appauthor=False)
    except RuntimeError as error:
        raise ConfigurationError(f"no [general] state_dir, and no home folder for its default: {error}") from None


def mask(secret: str) -> str:
    """The start of ``secret``, at most 4 characters and a third of it."""
    return secret[: min(4, len(secret) // 3)] + "…"


def function_parameters(value: str | Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Function parameters, flat, from a mapping or JSON text, flat or in the ``app.specific`` nesting of v1.0.

    Raises:
        ConfigurationError: the text is no JSON object; ``where`` names it.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigurationError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigurationError(f'{where} must be a JSON object like {{"name": value}}, not {json.dumps(value)[:80]}')
    for level in ("app", "specific"):
        inner = value.get(level)
        if isinstance(inner, Mapping):
            value = inner
    return dict(value)


def keywords(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Function parameters from JSON or a command line, ready for ``start(**...)`` and ``process(**...)``.

    Raises:
        ParameterError: one has the name of an argument of these calls; ``where`` names it.
    """
    for name in sorted(_ARGUMENTS.intersection(parameters)):
        raise ParameterError(
            f"{where}: {name!r} is an argument of the call, not a parameter of a function: leave it out"
        )
    return dict(parameters)


def _shown(setting: Setting, value: Any) -> str:
    if value is None:
        return ""
    if setting.kind == "secret":
        return mask(value)
    if setting.kind == "JSON":
        return json.dumps(value)
    if setting.kind == "flag":
        return "yes" if value else "no"
    return value.name if isinstance(value, StopMode) else str(value)


def _read(setting: Setting, value: Any, source: str) -> Any:
    """``value`` as the setting's kind says; errors name ``source``."""
    where = f"{source}: [{setting.section}] {setting.key}"
    if setting.kind == "stop mode":
        try:
            return StopMode.parse(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: [{setting.section}] {error}") from None
    if setting.kind == "JSON":
        return function_parameters(value, where)
    text = str(value).strip()
    if "\0" in text:
        raise ConfigurationError(f"{where} holds a zero byte: leave it out")
    if setting.kind == "flag":
        if text.lower() not in _FLAGS:
            raise ConfigurationError(f"{where} = {text!r}: use yes or no")
        return _FLAGS[text.lower()]
    if setting.kind == "count":
        if not text.isdecimal() or len(text) > _LONGEST_COUNT or int(text) < 1:
            raise ConfigurationError(f"{where} = {text!r}: use a whole number, at least 1")
        return int(text)
    # Absolute: a node runs in a folder of its own.
    return os.path.abspath(os.path.expanduser(text)) if setting.kind == "path" else text


def _find_file(given: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """The configuration file, if any, and how messages call it."""
    for named, origin in ((given, "config_file"), (environ.get(FILE_VARIABLE), FILE_VARIABLE)):
        if named:
            path = Path(os.path.expanduser(named))
            if not path.is_file():
                raise ConfigurationError(f"{origin} = {os.fspath(named)!r}: no such file")
            return path, os.fspath(named)
    home = environ.get("HOME") or os.path.expanduser("~")
    for path, shown in ((Path(FILE_NAME), FILE_NAME), (Path(home) / FILE_NAME, f"~/{FILE_NAME}")):
        if path.is_file():
            return path, shown
    return None, ""


def _from_file(path: Path, shown: str) -> dict[tuple[str, str], tuple[Any, str]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        text = path.read_text(encoding="utf-8-sig")
        parser.read_string(text, source=shown)
    except OSError as error:
        raise ConfigurationError(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown} is not UTF-8 text") from None
    except configparser.Error as error:
        raise ConfigurationError(_parse_message(error, shown)) from None
    lines = _line_numbers(text)
    found = {}
    for section in parser.sections():
        if section not in _SECTIONS:
            line = lines.get((section, ""), 0)
            raise ConfigurationError(f"{shown} line {line}: unknown section [{section}]; {nearest(section, _SECTIONS)}")
        for key, value in parser.items(section):
            source = f"{shown} line {lines.get((section, key), 0)}"
            if (section, key) not in _TABLE:
                known = [s.key for s in SETTINGS if s.section == section]
                raise ConfigurationError(f"{source}: unknown key {key!r} in [{section}]; {nearest(key, known)}")
            if value.strip():
                found[section, key] = (_read(_TABLE[section, key], value, source), source)
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[tuple[str, str], tuple[Any, str]]:
    known = {variable: setting for setting in SETTINGS for variable in reversed(setting.variables)}
    sections = tuple(f"{PREFIX}{section}_".upper() for section in _SECTIONS)
    for variable in sorted(environ):
        if variable.startswith(sections) and variable not in known:
            raise ConfigurationError(f"environment: unknown setting {variable}; {nearest(variable, known)}")
    found = {}
    for variable, setting in known.items():
        if environ.get(variable, "").strip():
            source = f"environment {variable}"
            found[setting.section, setting.key] = (_read(setting, environ[variable], source), source)
    return found


def _parse_message(error: configparser.Error, shown: str) -> str:
    """What is wrong and where; not the line's text, which may be a secret."""
    if isinstance(error, configparser.DuplicateOptionError):
        return f"{shown} line {error.lineno}: key {error.option!r} stands twice in [{error.section}]"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"{shown} line {error.lineno}: section [{error.section}] stands twice"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"{shown} line {error.lineno}: a [section] must come first"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"{shown} line {error.errors[0][0]}: not a line like 'key = value'"
    return f"{shown}: {' '.join(str(error).split())}"


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Where each (section, key) stands, and each section as (section, ""); the parser does not tell."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[(.+)\]", line):
            section = header[1]
            lines.setdefault((section, ""), number)
        elif key := re.match(r"\s*([^#;=:\s][^=:]*?)\s*[=:]", line):
            lines.setdefault((section, key[1].lower()), number)
    return lines
