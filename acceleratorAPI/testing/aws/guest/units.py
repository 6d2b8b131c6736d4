"""Unit files as systemd reads them: search path, drop-ins, sections, spans of time, command lines."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path

ETC = "etc/systemd/system"
_SEARCHED = (ETC, "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
_UNITS_OF_TIME = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip
_TOKEN = re.compile(r"\\x[0-9a-fA-F]{2}|\\.|.", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass
class Unit:
    """One unit file with its drop-ins: every assignment of every section, in order."""

    name: str
    path: Path
    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def all(self, section: str, key: str) -> list[str]:
        """The values of a key that adds up; an empty assignment forgets those before."""
        found: list[str] = []
        for name, value in self.sections.get(section, []):
            if name == key:
                found = [*found, value] if value else []
        return found

    def last(self, section: str, key: str, default: str = "") -> str:
        """The value of a key that is set once."""
        found = self.all(section, key)
        return found[-1] if found else default

    def names(self, section: str, *keys: str) -> list[str]:
        """The unit names that these keys list."""
        return [name for key in keys for value in self.all(section, key) for name in value.split()]

    def seconds(self, section: str, key: str, default: float) -> float:
        """A span of time."""
        value = self.last(section, key)
        return span_s(value) if value else default

    def flag(self, section: str, key: str) -> bool:
        """A yes or no."""
        return self.last(section, key).lower() in ("yes", "true", "on", "1")


def inside(root: Path, path: str) -> Path:
    """A path of the instance as one of the host; one that is the host's already stays."""
    return Path(path) if path.startswith(f"{root}/") else root / path.lstrip("/")


def full_name(name: str) -> str:
    """``node`` is ``node.service``."""
    return name if "." in name else f"{name}.service"


def find(root: Path, name: str) -> Unit | None:
    """Read the unit of that name, an instance of a template (``a@b.service``) included."""
    stem, dot, kind = name.rpartition(".")
    template = f"{stem.partition('@')[0]}@{dot}{kind}" if "@" in stem else None
    for folder in _SEARCHED:
        for candidate in filter(None, (name, template)):
            path = root / folder / candidate
            if path.is_file():
                unit = Unit(name, path)
                _read(path, unit)
                for drop_in in _drop_ins(root, filter(None, (template, name))):
                    _read(drop_in, unit)
                return unit
    return None


def _drop_ins(root: Path, names: filter[str]) -> list[Path]:
    wanted = list(names)
    found = {p.name: p for f in reversed(_SEARCHED) for n in wanted for p in (root / f / f"{n}.d").glob("*.conf")}
    return [found[name] for name in sorted(found)]


def _read(path: Path, unit: Unit) -> None:
    section, joined = "", ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            continue
        joined += stripped
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        text, joined = joined, ""
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif "=" in text:
            key, _, value = text.partition("=")
            unit.sections.setdefault(section, []).append((key.strip(), _specified(value.strip(), unit.name)))


def _specified(value: str, name: str) -> str:
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    known = {
        "n": name, "N": stem, "p": prefix, "i": instance, "I": instance, "t": "/run", "S": "/var/lib", "L": "/var/log",
        "C": "/var/cache", "E": "/etc", "T": "/tmp", "h": "/root", "u": "root", "%": "%",  # noqa: S108
    }  # fmt: skip
    return re.sub(r"%(.)", lambda found: known.get(found[1], found[0]), value)


def span_s(text: str) -> float:
    """Seconds of a span such as ``1min 30s`` or ``300``.

    Raises:
        ValueError: it is none.
    """
    if text.strip() == "infinity":
        return float("inf")
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    if not parts or re.sub(r"[\d.]+\s*[a-z]*|\s", "", text):
        raise ValueError(f"not a span of time: {text!r}")
    return float(sum(float(number) * _UNITS_OF_TIME[unit] for number, unit in parts))


def calendar_period_s(text: str, now: dt.datetime) -> float | None:
    """Seconds from ``now`` to the next time of an ``OnCalendar`` of the common forms; ``None`` for others."""
    short = {"minutely": 60, "hourly": 3600, "daily": 86400, "weekly": 604800}
    steps = re.fullmatch(r"\*:(?:\*|0)/(\d+)(?::00?)?|\*:\*:(?:\*|0)/(\d+)", text.strip())
    if text in short:
        period = short[text]
    elif steps:
        period = int(steps[1]) * 60 if steps[1] else int(steps[2])
    elif text.strip() in ("*:*:00", "*-*-* *:*:00"):
        period = 60
    else:
        with contextlib.suppress(ValueError):
            until = dt.datetime.fromisoformat(text.replace(" UTC", "+00:00")) - now
            return max(until.total_seconds(), 0.0)
        return None
    return period - now.timestamp() % period


def split(text: str) -> list[str]:
    """The words of a line, with quotes and C's escapes taken off.

    Raises:
        ValueError: a quote is not closed.
    """
    words: list[str] = []
    word, quote = "", ""
    begun = False
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token[0] == "\\" and len(token) > 1:
            word, begun = word + _unescaped(token), True
        elif token == quote:
            quote = ""
        elif not quote and token in ("'", '"'):
            quote, begun = token, True
        elif not quote and token.isspace():
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + token, True
    if quote:
        raise ValueError(f"no closing quotation: {text!r}")
    return [*words, word] if begun else words


def quoted(word: str) -> str:
    """A word as ``split`` and ``command`` read it back."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("$", "$$"), ("%", "%%")):
        word = word.replace(plain, escaped)
    return f'"{word}"'


def _unescaped(token: str) -> str:
    if token[1] == "x":
        return chr(int(f"0{token[1:]}", 0))
    return _ESCAPES.get(token[1], token[1] if token[1] in "\\'\" " else token)


def command(line: str, environment: dict[str, str]) -> tuple[list[str], bool]:
    """The arguments of an ``Exec...`` line, and whether its failure is to be overlooked."""
    prefix = re.match(r"[-@:+!|]*", line)
    marks = prefix[0] if prefix else ""
    words: list[str] = []
    for word in split(line[len(marks) :]):
        whole = re.fullmatch(r"\$(\w+)", word)
        if whole:
            words += environment.get(whole[1], "").split()
        else:
            text = word.replace("$$", "\0")
            words.append(_VARIABLE.sub(lambda v: environment.get(v[1] or v[2], ""), text).replace("\0", "$"))
    if "@" in marks and len(words) > 1:
        del words[1]
    return words, "-" in marks


def environment(unit: Unit, root: Path) -> dict[str, str]:
    """What ``Environment`` and ``EnvironmentFile`` say.

    Raises:
        FileNotFoundError: a file that is not optional is missing.
    """
    found: dict[str, str] = {}
    for value in unit.all("Service", "Environment"):
        found.update(_assignments(split(value)))
    for value in unit.all("Service", "EnvironmentFile"):
        path = inside(root, value.lstrip("-"))
        if value.startswith("-") and not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.strip() and not line.lstrip().startswith(("#", ";")):
                key, _, text = line.partition("=")
                found[key.strip()] = " ".join(split(text)) if text.strip()[:1] in ("'", '"') else text.strip()
    return found


def _assignments(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)
