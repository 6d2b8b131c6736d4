"""User data in every form that cloud-init takes."""

from __future__ import annotations

import gzip
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from acceleratorAPI.testing.aws.userdata import Script, scripts


def test_a_script_runs_once_after_the_units() -> None:
    assert scripts(b"#!/bin/sh\ntrue\n") == [Script(b"#!/bin/sh\ntrue\n", "late", False)]


def test_a_compressed_script_is_the_same() -> None:
    assert scripts(gzip.compress(b"#!/bin/sh\n")) == scripts(b"#!/bin/sh\n")


def test_a_boothook_runs_early_at_every_boot() -> None:
    (found,) = scripts(b"#cloud-boothook\ntouch /x\n")
    assert found.text.startswith(b"#!/bin/sh\n")
    assert (found.phase, found.every_boot) == ("early", True)


def test_parts_keep_their_order_and_config_is_left_out() -> None:
    message = MIMEMultipart()
    for text, kind in (
        ("touch /a", "cloud-boothook"),
        ("packages: []", "cloud-config"),
        ("#!/bin/sh\n", "x-shellscript"),
    ):
        message.attach(MIMEText(text, kind))
    assert [(script.phase, script.every_boot) for script in scripts(message.as_bytes())] == [
        ("early", True),
        ("late", False),
    ]


def test_what_is_no_script_runs_nothing() -> None:
    assert scripts(b"") == scripts(b"#cloud-config\nruncmd: [ls]\n") == scripts(b"some text") == []
