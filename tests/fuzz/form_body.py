"""The body of a POST without a file: a form or JSON."""

from __future__ import annotations

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.forms import Form, _plain

ALLOWED = (InputError,)
SEEDS = (
    b"jparameters=%7B%22app%22%3A%7B%7D%7D&configuration=1",
    b'j{"parameters": {"app": {"specific": {"level": 1}}}, "configuration": "/v1.0/configuration/1/"}',
    b"fparameters=%7B%22app%22%3A%7B%7D%7D&configuration=1&source=%FF&target=a+b",
    b"fdatafile=x",
    b"j" + b"[" * 3000,
    b'j{"parameters": ' + b"[" * 700 + b"]" * 700 + b"}",
    b"f" + b"a=1&" * 120,
)


def run(data: bytes) -> None:
    """Only known fields come out, as text."""
    kind = "application/json" if data[:1] == b"j" else "application/x-www-form-urlencoded"
    form = Form()
    _plain(kind, data[1:], form)
    assert all(isinstance(value, str) for value in form.fields.values())
    assert form.fields.keys() <= {"parameters", "configuration", "source", "target"}
