"""Settings: found in order, read by kind, wrong ones named with their line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import acceleratorAPI
from acceleratorAPI.config import SETTINGS, Configuration, function_parameters, mask, state_folder
from acceleratorAPI.errors import ConfigurationError
from acceleratorAPI.protocol.stop import StopMode

ROOT = Path(__file__).parents[1]

# The block of the user guide, character for character.
GUIDE = """\
[general]

[csp]
#Name of your provider AWS, OVH ...
provider =\x20
#Set your CSP information
client_id =
secret_id =
region =\x20
project_id =\x20
#Defaut CSP environement value
instance_type =
ssh_key = MySSHKEY
security_group = MySecurityGROUP
role = MyRole\x20
instance_id =
instance_ip =
# Instance stop mode: 0=TERMINATE, 1=STOP, 2=KEEP
stop_mode = 0

[accelize]
#Set Accelerator Access Key from your Accelize account on https://accelstore.accelize.com/user/applications
client_id =\x20
secret_id =\x20
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, path: str = "accelerator.conf") -> None:
    Path(path).write_text(text, encoding="utf-8")


def test_nothing_is_needed() -> None:
    configuration = Configuration.load()
    assert configuration.get("csp", "provider") == "LOCAL"
    assert configuration.origin("csp", "provider") == "default"
    assert configuration.get("csp", "region") is None
    assert configuration.origin("csp", "region") == ""
    assert configuration.files == ()


@pytest.mark.parametrize("indent", ["", "    "])
def test_the_guides_own_file_loads_as_it_is(indent: str) -> None:
    write("".join(f"{indent}{line}\n" for line in GUIDE.splitlines()))
    configuration = Configuration.load()
    assert configuration.get("csp", "provider") == "LOCAL"  # empty is "not given"
    assert configuration.get("csp", "ssh_key") == "MySSHKEY"
    assert configuration.get("csp", "role") == "MyRole"
    assert configuration.get("csp", "stop_mode") is StopMode.TERM
    assert configuration.get("accelize", "client_id") is None
    assert configuration.origin("csp", "stop_mode") == "accelerator.conf line 19"


def test_the_shipped_example_loads_and_names_every_setting() -> None:
    path = Path(acceleratorAPI.__file__).with_name("accelerator.conf.example")
    configuration = Configuration.load(path)
    assert [row.value for row in configuration.rows() if row.value] == [s.default for s in SETTINGS if s.default]
    text = path.read_text(encoding="utf-8")
    for setting in SETTINGS:
        section = text.split(f"[{setting.section}]\n")[1].split("\n[")[0]
        assert re.search(rf"^{setting.key} =", section, re.MULTILINE), setting


def test_files_are_found_in_order(home: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def region(config_file: str | None = None) -> tuple[str, str]:
        configuration = Configuration.load(config_file)
        return configuration.get("csp", "region"), configuration.origin("csp", "region")

    (home / "accelerator.conf").write_text("[csp]\nregion = home\n", encoding="utf-8")
    assert region() == ("home", "~/accelerator.conf line 2")
    write("\n[csp]\nregion = here\n")
    assert region() == ("here", "accelerator.conf line 3")
    write("[csp]\nregion = variable\n", "named.conf")
    monkeypatch.setenv("ACCELERATOR_CONF", str(here / "named.conf"))
    assert region() == ("variable", f"{here}/named.conf line 2")
    write("[csp]\nregion = argument\n", "given.conf")
    assert region("given.conf") == ("argument", "given.conf line 2")


def test_arguments_beat_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def provider(argument: str | None = None) -> tuple[str, str]:
        configuration = Configuration.load(arguments={("csp", "provider"): argument})
        return configuration.get("csp", "provider"), configuration.origin("csp", "provider")

    assert provider() == ("LOCAL", "default")
    write("[csp]\nprovider = FILE\n")
    assert provider() == ("FILE", "accelerator.conf line 2")
    monkeypatch.setenv("ACCELERATOR_CSP_PROVIDER", "VARIABLE")
    assert provider() == ("VARIABLE", "environment ACCELERATOR_CSP_PROVIDER")
    assert provider("ARGUMENT") == ("ARGUMENT", "argument")
    assert provider("") == ("VARIABLE", "environment ACCELERATOR_CSP_PROVIDER")
    monkeypatch.setenv("ACCELERATOR_CSP_PROVIDER", " ")
    assert provider() == ("FILE", "accelerator.conf line 2")


@pytest.mark.parametrize("variable", ["ACCELERATOR_STATE_DIR", "ACCELERATOR_GENERAL_STATE_DIR"])
def test_the_state_folder_can_be_moved(variable: str, monkeypatch: pytest.MonkeyPatch, here: Path, home: Path) -> None:
    assert state_folder() == home / "state" / "acceleratorapi"
    monkeypatch.setenv(variable, str(here / "elsewhere"))
    assert state_folder() == here / "elsewhere"


def test_kinds() -> None:
    write('[general]\nslots = 3\nlegacy_profiling = Yes\nstate_dir = ~/x\n[process]\nparameters = {"level": 2}\n')
    configuration = Configuration.load()
    assert configuration.get("general", "slots") == 3
    assert configuration.get("general", "legacy_profiling") is True
    assert configuration.get("general", "state_dir") == str(Path("~/x").expanduser())
    assert configuration.get("process", "parameters") == {"level": 2}


def test_json_may_have_several_lines_and_the_historical_nesting() -> None:
    write('[configuration]\nparameters = {"app": {"reset": 0,\n    "specific": {"mode": 3}\n  }}\n')
    assert Configuration.load().get("configuration", "parameters") == {"mode": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cps]\n", "accelerator.conf line 1: unknown section [cps]; did you mean 'csp'?"),
        ("[csp]\n\nregoin = x\n", "accelerator.conf line 3: unknown key 'regoin' in [csp]; did you mean 'region'?"),
        ("[csp]\nregion = x\nregion = y\n", "accelerator.conf line 3: key 'region' stands twice in [csp]"),
        ("[csp]\n[csp]\n", "accelerator.conf line 2: section [csp] stands twice"),
        ("region = x\n", "accelerator.conf line 1: a [section] must come first"),
        ("[csp]\nregion\n", "accelerator.conf line 2: not a line like 'key = value'"),
        ("[csp]\nstop_mode = 3\n", "accelerator.conf line 2: [csp] stop_mode = '3': use TERM (0), STOP (1) or KEEP"),
        ("[general]\nslots = 0\n", "accelerator.conf line 2: [general] slots = '0': use a whole number, at least 1"),
        ("[general]\nlegacy_profiling = 2\n", "[general] legacy_profiling = '2': use yes or no"),
        ("[process]\nparameters = {level: 2}\n", "line 2: [process] parameters is not JSON: Expecting property name"),
        ("[process]\nparameters = [1]\n", "line 2: [process] parameters must be a JSON object"),
        ("[DEFAULT]\nregion = x\n", "accelerator.conf line 1: unknown section [DEFAULT]"),
    ],
)
def test_a_wrong_file_is_one_clear_line(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError) as caught:
        Configuration.load()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["secret_id = hunter2\n", "[csp]\nhunter2\n", "[csp]\nsecret_id =\nhunter2\n"])
def test_a_secret_on_a_wrong_line_is_not_shown(text: str) -> None:
    write(text)
    with pytest.raises(ConfigurationError) as caught:
        Configuration.load()
    assert "hunter2" not in str(caught.value)


def test_values_are_taken_as_they_stand() -> None:
    Path("accelerator.conf").write_bytes(b"\xef\xbb\xbf[csp]\r\nssh_key = 100%: a=b # c ; d\r\nregion: x\r\n")
    settings = Configuration.load()
    assert settings.get("csp", "ssh_key") == "100%: a=b # c ; d"
    assert settings.get("csp", "region") == "x"
    assert settings.origin("csp", "region") == "accelerator.conf line 3"


def test_no_home_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        Configuration.load("~nobody-has-this-name/accelerator.conf")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # A user without an entry in the password file.
    with pytest.raises(ConfigurationError, match=r"no \[general\] state_dir, and no home folder"):
        state_folder()


def test_a_relative_state_folder_is_made_absolute(here: Path) -> None:
    settings = Configuration.load(arguments={("general", "state_dir"): "below"})
    assert state_folder(settings) == here / "below"


def test_a_file_that_is_not_text() -> None:
    Path("accelerator.conf").write_bytes(b"\xff\xfe\x00[csp]")
    with pytest.raises(ConfigurationError, match=r"accelerator\.conf is not UTF-8 text"):
        Configuration.load()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"config_file = 'none\.conf': no such file"):
        Configuration.load("none.conf")
    monkeypatch.setenv("ACCELERATOR_CONF", "/none.conf")
    with pytest.raises(ConfigurationError, match=r"ACCELERATOR_CONF = '/none\.conf': no such file"):
        Configuration.load()


def test_a_misspelt_variable_is_an_error_and_a_foreign_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATOR_OF_SOMEBODY_ELSE", "1")
    Configuration.load()
    monkeypatch.setenv("ACCELERATOR_CSP_REGOIN", "x")
    with pytest.raises(ConfigurationError, match="ACCELERATOR_CSP_REGOIN; did you mean 'ACCELERATOR_CSP_REGION'"):
        Configuration.load()


def test_a_wrong_variable_and_argument_name_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"argument: \[csp\] stop_mode = 'soon'"):
        Configuration.load(arguments={("csp", "stop_mode"): "soon"})
    monkeypatch.setenv("ACCELERATOR_CSP_STOP_MODE", "9")
    with pytest.raises(ConfigurationError, match=r"environment ACCELERATOR_CSP_STOP_MODE: \[csp\] stop_mode = '9'"):
        Configuration.load()


def test_secrets_are_masked_everywhere() -> None:
    write("[csp]\nsecret_id = abcdefghijklmnop\nclient_id = me\n[accelize]\nsecret_id = xyz\n")
    configuration = Configuration.load()
    assert configuration.get("csp", "secret_id") == "abcdefghijklmnop"
    rows = {(row.section, row.key): row for row in configuration.rows()}
    assert rows["csp", "secret_id"].value == "abcd…"
    assert rows["csp", "client_id"].value == "me"
    assert rows["csp", "secret_id"].origin == "accelerator.conf line 2"
    for shown in (repr(configuration), str(configuration), str(configuration.rows())):
        assert "abcde" not in shown
        assert "xyz" not in shown
    assert len(rows) == len(SETTINGS)


@pytest.mark.parametrize("secret", ["", "a", "ab", "abc", "abcd", "abcdefgh"])
def test_a_mask_never_shows_a_short_secret(secret: str) -> None:
    assert len(mask(secret)) - 1 <= len(secret) // 3


def test_an_unknown_name_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Configuration.load().get("csp", "regoin")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ("", {}),
        ("{}", {}),
        ('{"level": 1}', {"level": 1}),
        ({"specific": {"level": 1}}, {"level": 1}),
        ({"app": {"specific": {"level": 1}, "reset": 0}}, {"level": 1}),
        ({"app": {"level": 1}}, {"level": 1}),
        ({"app": "text"}, {"app": "text"}),
    ],
)
def test_function_parameters(value: object, expected: dict[str, object]) -> None:
    assert function_parameters(value, "here") == expected  # type: ignore[arg-type]


def test_the_documentation_has_every_setting() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for setting in SETTINGS:
        row = f"| `[{setting.section}]` | `{setting.key}` | {setting.kind} | {setting.default} | {setting.help} |"
        assert row in text, f"docs/configuration.md lacks: {row}"
    assert text.count("\n| `[") == len(SETTINGS)
