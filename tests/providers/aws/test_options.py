"""Each parameter of the guide, as an argument and in accelerator.conf, and settings of [csp], on the emulated cloud."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_guide_examples import TEXT

from acceleratorAPI.acceleratorAPI import KEEP, STOP, TERM, AcceleratorClass
from acceleratorAPI.errors import AcceleratorError, ConfigurationError, InstanceError
from acceleratorAPI.providers.aws import ready
from acceleratorAPI.providers.aws.image import Image
from acceleratorAPI.providers.aws.provider import AwsProvider
from acceleratorAPI.providers.base import InstanceSpec
from acceleratorAPI.testing.aws import AwsCloud

GUIDE = """
[general]

[csp]
#Name of your provider AWS, OVH ...
provider = AWS
#Set your CSP information
client_id = AKIAIOSFODNN7EXAMPLE
secret_id = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY
region = eu-west-2
project_id =
#Defaut CSP environement value
instance_type = c6i.2xlarge
ssh_key = MySSHKEY
security_group = MySecurityGROUP
role = MyRole
instance_id =
instance_ip =
# Instance stop mode: 0=TERMINATE, 1=STOP, 2=KEEP
stop_mode = 0

[accelize]
#Set Accelerator Access Key from your Accelize account on https://accelstore.accelize.com/user/applications
client_id =
secret_id =
"""


@pytest.fixture
def user(home: Path) -> Path:
    """Who has an SSH key, as people do."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519.pub").write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} me\n")
    return home


@pytest.fixture
def conf(tmp_path: Path) -> Callable[..., str]:
    def write(text: str = "", **values: str) -> str:
        path = tmp_path / "accelerator.conf"
        lines = [f"{name} = {value}" for name, value in values.items()]
        path.write_text(text or "\n".join(["[csp]", "provider = AWS", *lines]) + "\n")
        return str(path)

    return write


def good(answer: tuple[bool, dict[str, Any]]) -> dict[str, Any]:
    assert answer[0], answer
    return answer[1]


def test_the_guides_file_as_it_is(
    cloud: AwsCloud, user: Path, conf: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ACCELERATOR_CSP_PROVIDER", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    accelerator = AcceleratorClass(accelerator="cast_gzip", config_file=conf(GUIDE))
    started = good(accelerator.start())
    (instance,) = cloud.instances("running")
    assert started["url_instance"] == f"https://{instance.public_ip}"
    (tmp_path / "in").write_bytes(TEXT)
    good(accelerator.process(file_in=str(tmp_path / "in"), file_out=str(tmp_path / "out")))
    good(accelerator.stop())
    assert not cloud.instances("pending", "running", "stopped")
    words = cloud.calls("RunInstances")[0].text()
    assert (instance.region, instance.type) == ("eu-west-2", "c6i.2xlarge")
    for needed in ("KeyName=MySSHKEY", "IamInstanceProfile.Name=MyRole"):
        assert needed in words
    assert "GroupName=MySecurityGROUP" in cloud.calls("CreateSecurityGroup")[0].text()
    assert {call.access_key for call in cloud.calls()} == {"AKIAIOSFODNN7EXAMPLE"}
    # Roles are of the whole account; the price list answers in one region.
    assert {call.region for call in cloud.calls() if call.service == "ec2"} == {"eu-west-2"}


class LaunchedError(InstanceError):
    """Instead of the wait for the node."""


@pytest.fixture
def launch_only(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    cloud.settings(boots=False)

    def stop(*_: object, **__: object) -> None:
        raise LaunchedError("launched")

    monkeypatch.setattr(ready, "wait_until_ready", stop)
    return cloud


def launched(accelerator: AcceleratorClass) -> None:
    assert accelerator.start() == (False, {"app": {"status": -1, "msg": "launched"}})


ARGUMENTS: list[tuple[str, str, str]] = [
    ("region", "us-west-2", "Zone=us-west-2"),
    ("ssh_key", "mine", "KeyName=mine"),
]
IN_FILE = [
    ("instance_type", "c6i.4xlarge", "InstanceType=c6i.4xlarge"),
    ("role", "TheirRole", "IamInstanceProfile.Name=TheirRole"),
]


@pytest.mark.parametrize(("name", "value", "sent"), ARGUMENTS + IN_FILE)
def test_a_setting_of_the_file_reaches_the_launch(
    launch_only: AwsCloud, user: Path, conf: Callable[..., str], name: str, value: str, sent: str
) -> None:
    launched(AcceleratorClass("cast_gzip", config_file=conf(**{name: value})))
    assert sent in launch_only.calls("RunInstances")[0].text()


@pytest.mark.parametrize(("name", "value", "sent"), ARGUMENTS)
def test_an_argument_comes_before_the_file(
    launch_only: AwsCloud, user: Path, conf: Callable[..., str], name: str, value: str, sent: str
) -> None:
    other = {"region": "eu-west-2", "ssh_key": "theirs"}[name]
    launched(AcceleratorClass("cast_gzip", config_file=conf(**{name: other}), **{name: value}))  # type: ignore[arg-type]
    assert sent in launch_only.calls("RunInstances")[0].text()


def test_the_access_key_of_the_cloud_as_arguments(launch_only: AwsCloud, conf: Callable[..., str]) -> None:
    file = conf(client_id="AKIAOFTHEFILE0000000", secret_id="x")
    accelerator = AcceleratorClass(
        "cast_gzip", config_file=file, provider="AWS", csp_client_id="AKIAOFTHECALL0000000", csp_secret_id="y"
    )
    launched(accelerator)
    assert {call.access_key for call in launch_only.calls()} == {"AKIAOFTHECALL0000000"}
    answer = AcceleratorClass("cast_gzip", csp_client_id="AKIAOFTHECALL0000000").start()
    assert answer[1]["app"]["msg"] == "[csp] client_id and secret_id go together: give both, or none"


def test_an_instance_by_id_and_by_address_and_every_stop_mode(
    cloud: AwsCloud, conf: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACCELERATOR_CSP_PROVIDER")
    first = AcceleratorClass("cast_gzip", provider="AWS")
    started = good(first.start(stop_mode=KEEP))
    del first
    (instance,) = cloud.instances("running")
    by_file = {"instance_id": instance.id}, {"instance_ip": instance.public_ip or ""}
    for settings in by_file:
        again = good(AcceleratorClass("cast_gzip", config_file=conf(**settings)).start())
        assert again["url_config"] == started["url_config"]
    # In the file, as its number; stopped at the end of the object.
    accelerator = AcceleratorClass("cast_gzip", config_file=conf(stop_mode="1"), instance_id=instance.id)
    good(accelerator.start())
    del accelerator
    cloud.wait_for(lambda: cloud.instances("stopped"))
    accelerator = AcceleratorClass("cast_gzip", config_file=conf(), instance_id=instance.id)
    good(accelerator.start(stop_mode=STOP))
    assert "is terminated" in good(accelerator.stop(stop_mode=TERM))["app"]["msg"]
    assert len(cloud.instances()) == 1
    assert not cloud.instances("pending", "running", "stopping", "stopped")


def test_tags_are_on_all_that_is_made(launch_only: AwsCloud, user: Path, provider: Callable[..., AwsProvider]) -> None:
    with pytest.raises(LaunchedError):
        provider(tags="team = a b, cost=1", ssh_key="key", role="MyRole", spot="yes").create(
            InstanceSpec("cast_gzip", os.getpid())
        )
    words = launch_only.calls("RunInstances")[0].text()
    for kind in ("instance", "volume", "network-interface", "spot-instances-request"):
        assert f"ResourceType={kind}\n" in words
    assert words.count("Value=a b\n") == 4
    for operation in ("CreateSecurityGroup", "ImportKeyPair", "CreateRole", "CreateInstanceProfile"):
        (call,) = launch_only.calls(operation)
        assert {"a b", "1"} <= set(call.parameters.values()), operation


def test_every_disk_is_encrypted_and_goes_with_the_instance() -> None:
    disks = Image("ami-1", "name", ("/dev/sda1", "/dev/sdb"), 30).mappings(20)
    assert [disk["DeviceName"] for disk in disks] == ["/dev/sda1", "/dev/sdb"]
    assert all(disk["Ebs"]["Encrypted"] and disk["Ebs"]["DeleteOnTermination"] for disk in disks)
    # Never smaller than the image.
    assert disks[0]["Ebs"]["VolumeSize"] == 30


def test_a_private_instance_gets_no_public_address(
    launch_only: AwsCloud, provider: Callable[..., AwsProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(*_: object) -> None:
        running = launch_only.wait_for(lambda: [one for one in provider().instances() if one.status == "running"])
        seen.extend(running)
        raise LaunchedError("launched")

    monkeypatch.setattr(ready, "wait_until_ready", look)
    with pytest.raises(LaunchedError):
        provider(private_address="yes", node_port="8443", allow_from="10.1.0.0/16, 10.2.3.4").create(
            InstanceSpec("cast_gzip", os.getpid())
        )
    assert "AssociatePublicIpAddress=false" in launch_only.calls("RunInstances")[0].text()
    private = launch_only.instances()[0].private_ip
    assert [one.url for one in seen] == [f"https://{private}:8443"]
    opened = [call.text() for call in launch_only.calls("AuthorizeSecurityGroupIngress")]
    assert [("10.1.0.0/16" in text, "10.2.3.4/32" in text) for text in opened] == [(True, False), (False, True)]
    assert all("FromPort=8443" in text for text in opened)


class _Proxy(BaseHTTPRequestHandler):
    seen: list[str]

    def do_POST(self) -> None:
        """Pass it on."""
        self.seen.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        request = urllib.request.Request(self.path, body, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """The URL of a proxy, and what went through it."""
    kind = type("Seen", (_Proxy,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", kind.seen
        server.shutdown()


def test_all_calls_go_by_the_proxy(
    launch_only: AwsCloud, provider: Callable[..., AwsProvider], proxy: tuple[str, list[str]]
) -> None:
    url, seen = proxy
    with pytest.raises(LaunchedError):
        provider(proxy=url).create(InstanceSpec("cast_gzip", os.getpid()))
    assert len(seen) == len(launch_only.calls()) > 10
    assert all(path.startswith(launch_only.endpoint) for path in seen)


@pytest.mark.parametrize("wrong", ["proxy.example.org:3128", "ftp://user:canary@host", "http://", "http://host:port"])
def test_a_proxy_that_is_none_is_said(provider: Callable[..., AwsProvider], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^\[csp\] proxy: use a URL like") as told:
        provider(proxy=wrong)
    assert "canary" not in str(told.value)


def test_a_cloud_that_does_not_answer_is_one_line_with_what_to_check(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InstanceError, match=r"check the network, \[csp\] region and \[csp\] proxy") as told:
        provider().instances()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"node_port": "70000"}, "[csp] node_port = 70000: use at most 65535"),
        ({"volume_gb": "100000"}, "[csp] volume_gb = 100000: use at most 65536"),
        ({"keep_hours": "9000"}, "[csp] keep_hours = 9000: use at most 8784"),
        ({"lease_minutes": "1000000"}, "[csp] lease_minutes = 1000000: use at most 527040"),
        ({"tags": "aws:x=1"}, "use NAME=VALUE"),
        ({"init_script": "/nonexistent/init"}, "cannot read '/nonexistent/init'"),
        ({"region": "not a region"}, "region"),
    ],
)
def test_a_setting_that_is_wrong_by_itself_is_named(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], settings: dict[str, str], message: str
) -> None:
    with pytest.raises(AcceleratorError) as told:
        provider(**settings).create(InstanceSpec("cast_gzip", os.getpid()))
    assert message in str(told.value)
    assert cloud.calls("RunInstances") == cloud.calls("CreateSecurityGroup") == []


def test_an_init_script_larger_than_aws_takes_is_said(
    cloud: AwsCloud, provider: Callable[..., AwsProvider], tmp_path: Path
) -> None:
    (tmp_path / "init").write_bytes(os.urandom(16384))
    with pytest.raises(ConfigurationError, match=r"init_script = .* bytes, AWS takes 16384: let it fetch"):
        provider(init_script=str(tmp_path / "init")).create(InstanceSpec("cast_gzip", os.getpid()))
    assert cloud.calls("RunInstances") == []
