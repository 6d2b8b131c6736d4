"""Unit files are read as systemd reads them, and run so on an instance."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from acceleratorAPI.testing.aws import AwsCloud
from acceleratorAPI.testing.aws.guest import units
from acceleratorAPI.testing.aws.guest.clock import Clock
from acceleratorAPI.testing.aws.guest.service import Service
from acceleratorAPI.testing.aws.guest.timer import Timer


def unit_of(root: Path, text: str, name: str = "a.service", **drop_ins: str) -> units.Unit:
    folder = root / units.ETC
    (folder / f"{name}.d").mkdir(parents=True)
    (folder / name).write_text(text)
    for drop_in, more in drop_ins.items():
        (folder / f"{name}.d" / f"{drop_in}.conf").write_text(more)
    found = units.find(root, name)
    assert found is not None
    return found


def test_a_list_adds_up_and_an_empty_assignment_empties_it(tmp_path: Path) -> None:
    text = "# comment\n[Service]\nExecStart=/bin/a \\\n  b\nEnvironment=A=1 'B=2 3'\n"
    unit = unit_of(tmp_path, text, z="[Service]\nExecStart=\nExecStart=/bin/c\n", y="[Service]\nExecStart=/bin/never\n")
    assert unit.all("Service", "ExecStart") == ["/bin/c"]
    assert units.environment(unit, tmp_path) == {"A": "1", "B": "2 3"}


def test_an_environment_file_may_be_missing_when_marked(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# no\nTOKEN=a=b\nQUOTED='x y'\n")
    unit = unit_of(tmp_path, "[Service]\nEnvironmentFile=/env\nEnvironmentFile=-/missing\n")
    assert units.environment(unit, tmp_path) == {"TOKEN": "a=b", "QUOTED": "x y"}
    strict = unit_of(tmp_path, "[Service]\nEnvironmentFile=/missing\n", "b.service")
    with pytest.raises(FileNotFoundError):
        units.environment(strict, tmp_path)


def test_specifiers_and_templates(tmp_path: Path) -> None:
    folder = tmp_path / units.ETC
    folder.mkdir(parents=True)
    (folder / "job@.service").write_text("[Service]\nExecStart=/bin/echo %i %n %p 100%%\n")
    unit = units.find(tmp_path, "job@7.service")
    assert unit is not None
    assert unit.last("Service", "ExecStart") == "/bin/echo 7 job@7.service job 100%"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("1min 30s", 90),
        ("2h", 7200),
        ("500ms", 0.5),
        ("1d", 86400),
        ("infinity", float("inf")),
        ("3 min", 180),
    ],
)
def test_spans(text: str, seconds: float) -> None:
    assert units.span_s(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5 parsecs", "", "5s or so"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        units.span_s(text)


def test_commands() -> None:
    known = {"PORT": "443", "MORE": "a b"}
    assert units.command("-/bin/x --port ${PORT} $MORE '$PORT' $$", known) == (
        ["/bin/x", "--port", "443", "a", "b", "443", "$"],
        True,
    )


@pytest.mark.parametrize("word", ["", "a b", 'say "x"', "it's", "a\\b", "line\nline", "$HOME %n", "tab\t", "#;="])
def test_a_quoted_word_is_read_back(word: str, tmp_path: Path) -> None:
    unit = unit_of(tmp_path, f"[Service]\nExecStart=/bin/x {units.quoted(word)} y\n")
    assert units.command(unit.last("Service", "ExecStart"), {}) == (["/bin/x", word, "y"], False)


def test_calendars() -> None:
    now = dt.datetime(2026, 11, 25, 6, 0, 50, tzinfo=dt.UTC)
    assert units.calendar_period_s("minutely", now) == pytest.approx(10)
    assert units.calendar_period_s("*:0/5", now) == pytest.approx(250)
    assert units.calendar_period_s("2026-11-25 06:01:00 UTC", now) == pytest.approx(10)
    assert units.calendar_period_s("Mon *-*-1..7", now) is None


class SetClock(Clock):
    """A clock that stands where it is put."""

    at_s = 0.0

    def now_s(self) -> float:
        return self.at_s


def test_a_timer_is_due_when_it_says(tmp_path: Path) -> None:
    clock = SetClock(1)
    clock.at_s = 100
    text = "[Timer]\nOnActiveSec=10\nOnBootSec=1min\nOnUnitActiveSec=30\nOnUnitInactiveSec=1h\n"
    service = Service("a.service", cast("Any", None))
    timer = Timer(unit_of(tmp_path, text, "a.timer"), service, clock)
    assert timer.due_s() == 60
    timer.trigger()
    assert timer.due_s() == 110
    clock.at_s = 115
    timer.trigger()
    assert timer.due_s() == 145
    service.left_inactive_s = 120
    assert timer.due_s() == 150
    service.left_inactive_s = 150
    assert timer.due_s() == 180


SCRIPT = """
cd /etc/systemd/system
unit() { cat > $1; }
unit once.service <<U
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo once ran'
U
unit loud.service <<U
[Service]
Type=oneshot
StandardOutput=journal+console
ExecStart=/bin/sh -c 'echo loud once; echo loud twice >&2'
U
unit broken.service <<U
[Unit]
OnFailure=alarm.service
[Service]
Type=oneshot
ExecStart=/bin/false
U
unit alarm.service <<U
[Service]
ExecStart=/bin/sh -c 'echo alarm >> /var/log/alarm'
U
unit crashing.service <<U
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'echo x >> /var/log/crashes; exit 3'
Restart=on-failure
RestartSec=5
U
unit slow.service <<U
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 0.3; echo WHO=me > /etc/needs.env'
U
unit needs.service <<U
[Unit]
Requires=slow.service
After=slow.service
[Service]
User=nobody
EnvironmentFile=/etc/needs.env
StateDirectory=needs
ExecStartPre=/bin/sh -c 'touch /var/lib/needs/pre'
ExecStart=/bin/sh -c 'echo \\$WHO \\$STATE_DIRECTORY \\$USER; exec sleep 1000'
U
unit beat.timer <<U
[Timer]
OnActiveSec=10
OnUnitActiveSec=20
U
unit beat.service <<U
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cut -d. -f1 /proc/uptime >> /var/log/beats'
U
set +e
systemctl start once; echo "rc-once $?"
systemctl start broken; echo "rc-broken $?"
systemctl start missing; echo "rc-missing $?"
systemctl start --no-block crashing
systemctl start needs beat.timer
systemctl is-active needs; echo "rc-active $?"
systemctl is-active once; echo "rc-inactive $?"
systemctl is-enabled web 2>/dev/null; echo "rc-enabled $?"
journalctl -u once
systemctl start loud; echo journal has $(journalctl -u loud | wc -l)
systemd-run --on-active=30 --unit=later /bin/sh -c 'echo later > /var/log/later'
until [ -e /var/log/later ]; do sleep 0.05; done
journalctl -u needs
sleep 0.7
systemctl stop needs crashing; systemctl is-active needs; pgrep -f "sleep 1000"; echo "rc-gone $?"
echo beats $(cat /var/log/beats); echo crashes $(wc -l < /var/log/crashes); cat /var/log/alarm
echo THE END
"""


def test_units_on_an_instance(cloud: AwsCloud, launch: Callable[..., str]) -> None:
    instance_id = launch(SCRIPT)
    text = cloud.wait_for(lambda: (found := cloud.console(instance_id) if cloud.instances()[0].ready else "") and
                          "THE END" in found and found)  # fmt: skip
    for line in (
        "rc-once 0",
        "rc-broken 1",
        "rc-missing 5",
        "rc-active 0",
        "rc-inactive 3",
        "once ran",
        "loud once",
        "loud twice",
        "journal has 2",
        "alarm",
        "rc-gone 1",
    ):
        assert re.search(rf"^{line}$", text, re.MULTILINE), line
    assert re.search(r"^me /var/lib/needs nobody$", text, re.MULTILINE)
    beats = re.search(r"^beats (.*)$", text, re.MULTILINE)
    assert beats
    assert len(beats[1].split()) >= 3
    crashes = re.search(r"^crashes (\d+)$", text, re.MULTILINE)
    assert crashes
    assert int(crashes[1]) >= 3
