from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.multipart import End, MultipartReader, Part, boundary_of, header_parameters

BOUNDARY = b"b0undary"
NEAR = [
    b"\r\n--b0undar",
    b"\r\n--",
    b"\r",
    b"\n",
    b"\r\n",
    b"--b0undary",
    b"\r\r\n--b0undarX",
    b"x" * 40,
    b"",
    b"\r\n-",
]

contents = st.lists(st.sampled_from(NEAR) | st.binary(max_size=30), max_size=12).map(b"".join)
cuts = st.lists(st.integers(0, 2000), max_size=30)


def part(name: str, content: bytes, extra: str = "") -> bytes:
    head = f'--b0undary\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def pieces(body: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(body)) for cut in at), len(body)]
    return [body[a:b] for a, b in pairwise(edges)]


def read(chunks: list[bytes]) -> list[tuple[Part, bytes]]:
    reader = MultipartReader(BOUNDARY)
    found: list[tuple[Part, bytes]] = []
    content = bytearray()
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, Part):
                found.append((event, b""))
                content.clear()
            elif event is End.PART:
                found[-1] = (found[-1][0], bytes(content))
            else:
                assert isinstance(event, memoryview)
                content += event
    reader.close()
    return found


@given(contents.filter(lambda c: BOUNDARY not in c), contents.filter(lambda c: BOUNDARY not in c), cuts)
def test_any_content_in_any_chunks(first: bytes, second: bytes, at: list[int]) -> None:
    body = part("a", first) + part("datafile", second, '; filename="x.bin"') + b"--b0undary--\r\n"
    assert read(pieces(body, at)) == [(Part("a", None), first), (Part("datafile", "x.bin"), second)]


@given(cuts)
def test_preamble_and_epilogue_are_skipped(at: list[int]) -> None:
    body = b"hello\r\n--b0undar\r\n" + part("a", b"1") + b"--b0undary--\r\nepilogue\r\n--b0undary\r\n"
    assert read(pieces(body, at)) == [(Part("a", None), b"1")]


def test_byte_by_byte() -> None:
    body = part("a", b"\r\n--b0undar\r\n") + b"--b0undary-- "
    assert read([bytes([byte]) for byte in body]) == [(Part("a", None), b"\r\n--b0undar\r\n")]


@given(st.binary(max_size=300), cuts)
def test_anything_at_all_is_read_or_refused(body: bytes, at: list[int]) -> None:
    for prefix in (b"", b"--b0undary\r\n", part("a", b"")):
        with contextlib.suppress(InputError):
            read(pieces(prefix + body, at))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b0undary",
        b"--b0undary-",
        part("a", b"1"),
        part("a", b"1") + b"--b0undary\r\n",
        part("a", b"1")[:-3],
        b"no boundary at all",
        b"--b0undary\r\n\r\nno head\r\n--b0undary--",
        b"--b0undary\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\nContent-Disposition: form-data\r\n\r\n\r\n--b0undary--",
        b"--b0undaryX\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b0undary--",
    ],
)
def test_malformed(body: bytes) -> None:
    with pytest.raises(InputError, match="multipart body"):
        read([body])


def test_limits() -> None:
    with pytest.raises(InputError, match="more than 100 parts"):
        read([part("a", b"") * 101])
    with pytest.raises(InputError, match="longer than 16384"):
        read([b"--b0undary\r\nX: " + b"x" * 20000])
    with pytest.raises(InputError, match="longer than 16384"):
        read([b"--b0undary\r\nX: ", *[b"x" * 100] * 200])


def test_content_passes_without_being_copied() -> None:
    chunk = part("a", b"") + part("datafile", b"z" * 100_000)
    reader = MultipartReader(BOUNDARY)
    views = [event for event in reader.feed(chunk) if isinstance(event, memoryview)]
    assert [len(view) for view in views] == [100_000]
    assert views[0].obj is chunk


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=x", b"x"),
        ("multipart/form-data; charset=utf-8; Boundary=----WebKit1", b"----WebKit1"),
        ("multipart/form-data;boundary='q'", b"'q'"),
    ],
)
def test_boundary(header: str, expected: bytes) -> None:
    assert boundary_of(header) == expected


@pytest.mark.parametrize(
    "header", ["multipart/form-data", "x; boundary=", 'x; boundary="é"', "x; boundary=" + "a" * 71]
)
def test_no_boundary(header: str) -> None:
    with pytest.raises(InputError, match="boundary"):
        boundary_of(header)


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('filename="a;b.txt"', "a;b.txt"),
        (r'filename="a\"b"', 'a"b'),
        (r'filename="C:\dir\x"', r"C:\dir\x"),
        ("filename=plain", "plain"),
        ("filename=\"x\"; filename*=UTF-8''%e2%82%ac", "€"),
        ('filename=""', ""),
    ],
)
def test_filenames(disposition: str, filename: str) -> None:
    body = part("datafile", b"", f"; {disposition}") + b"--b0undary--"
    assert read([body])[0][0] == Part("datafile", filename)


def test_header_parameters_take_the_first_of_a_name() -> None:
    assert header_parameters("x; a=1; A=2") == {"a": "1"}
