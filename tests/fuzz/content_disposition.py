"""The parameters of a header, the boundary of a Content-Type, and the head of one part."""

from __future__ import annotations

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.multipart import MultipartReader, Part, boundary_of, header_parameters

ALLOWED = (InputError,)
SEEDS = (
    b'form-data; name="datafile"; filename="a b.txt"',
    b"form-data; name=datafile; filename*=UTF-8''a%20b%C3%A9.txt",
    b'form-data; name="a\\"b"; filename="C:\\dir\\x.txt"',
    b"multipart/form-data; boundary=----abc'()+_,-./:=?",
    b'multipart/form-data; charset=utf-8; boundary="a b"',
    b'attachment; name="x"',
    b"; boundary= ",
    b"form-data; name=x; filename*=iso-8859-1'en'%a3%20rates; filename*=UTF-8''%",
)


def run(data: bytes) -> None:
    """A boundary is one that RFC 2046 allows; a head without one is that of a part, or refused."""
    text = data.decode("latin-1")
    parameters = header_parameters(text)
    assert all(name == name.lower() for name in parameters)
    body = b"--x\r\nContent-Disposition: " + data.replace(b"\r\n\r\n", b"") + b"\r\n\r\nabc\r\n--x--"
    if "boundary" in parameters:
        boundary = boundary_of(text)
        assert 1 <= len(boundary) <= 70
        assert not boundary.endswith(b" ")
        return
    (part, *_) = MultipartReader(b"x").feed(body)
    assert isinstance(part, Part)
