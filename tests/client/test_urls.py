"""URLs in the Python API: opened by the client, or by the node when it is told to."""

from __future__ import annotations

import contextlib
import gzip
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_servers import ObjectStore, WebServer, _certificate, _moto, s3, web  # noqa: F401

from acceleratorAPI import Accelerator, TransferProgress
from acceleratorAPI.client.fetch import Fetch
from acceleratorAPI.errors import FileAccessError, InputError, NodeError, PermissionDeniedError
from acceleratorAPI.remote import objects

DATA = random.Random(10).randbytes(1_000_000) * 2
CANARY = "canary-41ab"


@pytest.fixture
def urls(conf: Path, web: WebServer, s3: ObjectStore) -> Iterator[Accelerator]:  # noqa: F811
    """A ``cast_gzip`` whose LOCAL node opens URLs itself."""
    with Accelerator("cast_gzip", config_file=conf, node_opens_urls=True) as accelerator:
        accelerator.start()
        yield accelerator


@pytest.mark.parametrize("shared_files", [None, False])
def test_every_kind_to_every_kind(
    gzipper: Accelerator,
    conf: Path,
    web: WebServer,  # noqa: F811
    s3: ObjectStore,  # noqa: F811
    shared_files: bool | None,
    tmp_path: Path,
) -> None:
    assert gzipper.instance is not None
    user = Accelerator("cast_gzip", config_file=conf, instance_id=gzipper.instance.id, shared_files=shared_files)
    user.start()
    local = tmp_path / "in file"
    local.write_bytes(DATA)
    web.page("/out")
    sources = [str(local), f"file://{tmp_path}/in%20file", web.page("/in", DATA, cuts=[10]), s3.put("in", DATA)]
    for source in sources:
        for target in str(tmp_path / "out"), f"file://{tmp_path}/out", f"{web.origin}/out?sig=1", "s3://bucket/a/out":
            result = user.process(source, target)
            assert result.bytes_in == len(DATA)
            packed = {"https": lambda: web.stored["/out"], "s3": lambda: s3.get("a/out")}.get(
                target.partition(":")[0], (tmp_path / "out").read_bytes
            )()
            assert gzip.decompress(packed) == DATA
            assert result.bytes_out == len(packed)
            assert result.source == source
            assert result.destination == target.partition("?")[0]
    assert gzip.decompress(user.process(sources[-1]).data or b"") == DATA


def test_the_node_opens_them(urls: Accelerator, s3: ObjectStore, tmp_path: Path) -> None:  # noqa: F811
    """S3 by the node's own environment; the client does not touch it."""
    source = s3.put("in", DATA)
    told: list[TransferProgress] = []
    assert urls.process(source, "s3://bucket/out", progress=told.append).bytes_in == len(DATA)
    assert gzip.decompress(s3.get("out")) == DATA
    assert {each.phase for each in told} <= {"upload", "compute", "download"}
    result = urls.process(source, tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == DATA
    assert result.source == source
    (tmp_path / "in").write_bytes(DATA)
    urls.process(tmp_path / "in", "s3://bucket/out2")
    assert gzip.decompress(s3.get("out2")) == DATA
    assert gzip.decompress(urls.process(source).data or b"") == DATA


def test_the_node_needs_no_package_here(urls: Accelerator, s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    source = s3.put("in", DATA)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    urls.process(source, "s3://bucket/out")
    assert gzip.decompress(s3.get("out")) == DATA


def test_the_node_refuses_what_is_private(urls: Accelerator, web: WebServer) -> None:  # noqa: F811
    """A LOCAL node has the guard too: its clients are programs of this machine, its URLs may be anybody's."""
    with pytest.raises(PermissionDeniedError, match="port 443 only"):
        urls.process(web.page("/in", DATA))
    with pytest.raises(PermissionDeniedError, match="not public"):
        urls.process("https://localhost/in")
    assert web.requests == []


def test_a_node_that_was_not_told_opens_none(gzipper: Accelerator, conf: Path, s3: ObjectStore) -> None:  # noqa: F811
    assert gzipper.instance is not None
    user = Accelerator("cast_gzip", config_file=conf, instance_id=gzipper.instance.id, node_opens_urls=True)
    user.start()
    with pytest.raises(PermissionDeniedError, match="--urls"):
        user.process(s3.put("in", DATA), "s3://bucket/out")


def test_a_failed_output_leaves_nothing(
    gzipper: Accelerator,
    s3: ObjectStore,  # noqa: F811
    web: WebServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    big = random.Random(11).randbytes(objects.PART_BYTES + (4 << 20))
    (tmp_path / "in").write_bytes(big)

    def wrong(_fetch: Any, _record: Any) -> None:
        assert len(s3.uploads()) == 1
        raise NodeError("the node sent 1 bytes of a result of 2")

    with monkeypatch.context() as patch:
        patch.setattr(Fetch, "_check", wrong)
        with pytest.raises(NodeError):
            gzipper.process(tmp_path / "in", "s3://bucket/out")
    assert s3.keys() == []
    assert s3.uploads() == []
    with pytest.raises(FileAccessError, match="403"):
        gzipper.process(b"x", web.page("/out", statuses=[403]))
    with pytest.raises(FileAccessError, match="no such object or bucket"):
        gzipper.process(b"x", "s3://nowhere/out")


def test_mistakes_are_found_before_anything_is_sent(
    gzipper: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for source, target, words in (
        ("ftp://host/x", None, "no such kind of URL"),
        (b"x", "ftp://host/x", "no such kind of URL"),
        ("https://user:pw@host/x", None, "pre-signed"),
        ("s3://bucket", None, "bucket/key"),
        ("https://h.org/x", "https://h.org/x", "the same"),
        ("file://elsewhere/x", None, "file:///absolute"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            gzipper.process(source, target)
        assert "pw" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for source, target in (("s3://bucket/x", None), (b"x", "gs://bucket/x")):
        with pytest.raises(InputError, match=r"pip install 'acceleratorAPI\[url\]'"):
            gzipper.process(source, target)


def test_a_bucket_takes_the_outputs_of_many(gzipper: Accelerator, s3: ObjectStore, web: WebServer) -> None:  # noqa: F811
    sources = [s3.put("in/a", DATA), web.page("/b", DATA) + "?sig=1"]
    list(gzipper.process_map(sources, "s3://bucket/out/"))
    assert s3.keys() == ["in/a", "out/a", "out/b"]
    assert gzip.decompress(s3.get("out/b")) == DATA


def test_no_secret_of_a_url_is_shown(gzipper: Accelerator, web: WebServer) -> None:  # noqa: F811
    query = f"?X-Amz-Signature={CANARY}"
    web.page("/out")
    told: list[TransferProgress] = []
    result = gzipper.process(web.page("/in", DATA) + query, f"{web.origin}/out{query}", progress=told.append)
    shown = [repr(result), str(result), repr(result.as_dict()), repr(told)]
    for source, target in ((web.page("/none", statuses=[404]) + query, None), (b"x", f"{web.origin}/none{query}")):
        web.page("/none", statuses=[404])
        with contextlib.suppress(FileAccessError):
            gzipper.process(source, target)
            raise AssertionError("it was refused")
    for bad in f"https://u:{CANARY}@h/x{query}", f"ftp://x/{query}", f"s3://b/{query}":
        with pytest.raises(InputError) as caught:
            gzipper.process(bad)
        shown.append(str(caught.value))
    assert CANARY not in "".join(shown)


def test_a_configuration_file_by_url(conf: Path, s3: ObjectStore, tmp_path: Path) -> None:  # noqa: F811
    corpus: Any = s3.put("corpus.csv", b"hello,goodbye\n")
    with Accelerator("axonerve_hyperfire", config_file=conf) as accelerator:
        accelerator.start(corpus)
        assert b"goodbye" in (accelerator.process(b"hello world\n").data or b"")
