"""What a URL names, and that its secrets are not shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acceleratorAPI.errors import InputError
from acceleratorAPI.remote.names import ObjectUrl, WebUrl, file_path, is_url, parse, shown, without_secrets

CANARY = "canary-77"


def test_web_urls() -> None:
    assert parse("HTTPS://Data.Example.org:8443/a/b?c=d") == WebUrl("https", "data.example.org", 8443, "/a/b?c=d")
    assert parse("https://example.org") == WebUrl("https", "example.org", 443, "/")
    assert parse("http://example.org?x") == WebUrl("http", "example.org", 80, "/?x")
    assert parse("https://[2001:DB8::1]/").host == "2001:db8::1"  # type: ignore[union-attr]
    assert str(parse("https://[::1]:443/x")) == "https://[::1]/x"


def test_object_urls() -> None:
    assert parse("s3://my-bucket/a/b c+é.gz") == ObjectUrl("s3", "my-bucket", "a/b c+é.gz")
    assert parse("GS://my_bucket.x/k") == ObjectUrl("gs", "my_bucket.x", "k")


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///x",
        "https://a b/",
        "https://example.org/a b",
        "https://example.org/\t",
        "https://example.org/\r\nX: y",
        "https://example.org/\\@evil",
        "https://example.org\\@evil/",
        "https://user@example.org/",
        "https://user:password@example.org/",
        "https://example.org#@evil/",
        "https://example.org/x#y",
        "https://exämple.org/",
        "https://example.org/é",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://example%2eorg/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:+443/",
        "https://example.org:/",
        "https://[::1/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "ftp://example.org/x",
        "sftp://x/y",
        "javascript://x",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://b/k",
        "s3://bucket/folder/",
        "s3://bucket//x",
        "s3://bucket/a//b",
        "s3://bucket/key?versionId=1",
        "gs://bucket/key#123",
        "s3://user:pass@bucket/key",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/x/key",
        "s3://bucket/a\nb",
        "simplecache::s3://bucket/key",
    ],
)
def test_malformed_urls(url: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(url)
    assert "\n" not in str(caught.value).replace("\\n", "")


def test_paths_are_no_urls() -> None:
    for text in "/a/b", "./s3://x/y", "a:b", "C:\\x", "", "simplecache::s3://x/y", "://x":
        assert not is_url(text)
        assert shown(text) == text


def test_file_urls() -> None:
    assert file_path("file:///a%20b/c") == "/a b/c"
    assert file_path("FILE://localhost/x") == "/x"
    assert file_path("/x") is None
    for bad in "file://other/x", "file:///x?y", "file:///x#y", "file:///a%00b", "file://":
        with pytest.raises(InputError):
            file_path(bad)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"https://h.org/a?X-Amz-Signature={CANARY}", "https://h.org/a"),
        (f"https://u:{CANARY}@h.org/a", "https://h.org/a"),
        (f"https://{CANARY}@h.org/a#{CANARY}", "https://h.org/a"),
        (f"https://u:x@y/{CANARY}@h.org/a", "https://h.org/a"),
        (f"s3://AKIA:abc/{CANARY}/+x@bucket/key", "s3://bucket/key"),
        ("https://h.org:8443/@scope/pkg", "https://h.org:8443/@scope/pkg"),
        ("https://h.org/@scope/pkg", "https://h.org/@scope/pkg"),
        (f"https://h.org?{CANARY}", "https://h.org"),
    ],
)
def test_shown_urls_hold_no_secret(url: str, found: str) -> None:
    assert shown(url) == found
    with_text = without_secrets(f"cannot read '{url}': no")
    assert "cannot read" in with_text
    if "?X-Amz" in url or "@" in url:
        assert CANARY not in with_text.partition("#")[0]


def test_texts_keep_what_is_no_secret() -> None:
    text = "see https://h.org/a?x=1&sig=abc&y=2 and https://h.org/b?page=3; and a@b.c"
    assert without_secrets(text) == "see https://h.org/a?x=1&sig=***&y=2 and https://h.org/b?page=3; and a@b.c"
    assert without_secrets("no url: sig=abc") == "no url: sig=abc"


@given(
    st.sampled_from(["https://", "http://", "s3://", "gs://", "file://", ""]),
    st.text() | st.text(alphabet="abc.:@/\\?#[]%0x1\x00\n "),
)
def test_any_text_is_a_url_or_an_input_error(scheme: str, text: str) -> None:
    url = scheme + text
    shown(url), without_secrets(url)
    try:
        found = parse(url)
    except InputError:
        return
    # What was understood, written down, is understood the same again.
    assert parse(str(found)) == found
    assert "@" not in str(found).split("/")[2]


def test_the_repr_of_a_url_holds_no_query() -> None:
    assert CANARY not in repr(parse(f"https://h.org/a?sig={CANARY}"))
