"""The body of a multipart POST, in one chunk and in small ones."""

from __future__ import annotations

from acceleratorAPI.errors import InputError
from acceleratorAPI.node.multipart import End, MultipartReader, Part

ALLOWED = (InputError,)
_MOST_CHUNKS = 2000
_HEAD = b'\r\nContent-Disposition: form-data; name="datafile"; filename="x"\r\n\r\n'
SEEDS = (
    b"\x03--x" + _HEAD + b"content\r\n--x--\r\n",
    b"\x01preamble\r\n--x" + _HEAD + b"a\r\n-\r\n--\r\n--x" + _HEAD + b"\r\n--x--epilogue",
    b"\x40--x\r\nA: b\r\ncontent-disposition: form-data; name=parameters\r\n\r\n{}\r\n--x--",
    b"\x00--x\r\n\r\n\r\n--x--",
    b"\x00--x\r\r\n\n\r\n--x--",
    b"\x00--x-\r\n\r\n\r\n--x--",
    b"\x07--x \t\r\n" + b"a" * 5000,
)


def run(data: bytes) -> None:
    """The first byte says how long the chunks are; they must not matter."""
    size, body = 1 + (data[0] if data else 0), data[1:]
    # Not byte by byte to the end of a long body, which would be slow and find nothing that its beginning does not.
    cut = min(len(body), _MOST_CHUNKS * size)
    whole = _read([body])
    assert whole == _read([*(body[at : min(at + size, cut)] for at in range(0, cut, size)), body[cut:]])
    if isinstance(whole, str):
        raise InputError(whole)


def _read(chunks: list[bytes]) -> str | list[Part | bytes]:
    """The parts, each followed by its content; or why the body is refused."""
    reader, found = MultipartReader(b"x"), list[Part | bytes]()
    content = bytearray()
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                if isinstance(event, Part):
                    found.append(event)
                elif event is End.PART:
                    found.append(bytes(content))
                    content.clear()
                else:
                    content += event
        reader.close()
    except InputError as error:
        return str(error)
    return found
