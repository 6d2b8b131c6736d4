"""From an access key to the chart: client, LOCAL node and store as they are, each a process of its own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from stores import StoreProcess

from acceleratorAPI import Accelerator
from acceleratorAPI.acceleratorAPI import AcceleratorClass
from acceleratorAPI.client.store import StoreClient
from acceleratorAPI.config import Configuration, state_folder
from acceleratorAPI.errors import AuthenticationError, ConfigurationError, StoreUnreachableError, UsageQuotaError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    process.up()
    yield process
    process.down()


@pytest.fixture(scope="module")
def ada(store: StoreProcess) -> tuple[str, str]:
    return store.tenant("ada")


@pytest.fixture
def conf(tmp_path: Path, store: StoreProcess) -> Callable[[tuple[str, str]], Path]:
    def write(key: tuple[str, str]) -> Path:
        path = tmp_path / "accelerator.conf"
        path.write_text(f"[accelize]\nurl = {store.url}\nclient_id = {key[0]}\nsecret_id = {key[1]}\n")
        return path

    return write


def state_of(accelerator: Accelerator) -> Path:
    """The folder of a LOCAL accelerator's node."""
    (found,) = [path.parent for path in state_folder(Configuration.load()).rglob("node.json")
                if json.loads(path.read_text())["url"] == accelerator.url]  # fmt: skip
    return found


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_jobs_of_a_local_node_are_counted(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    with Accelerator("cast_gzip", config_file=conf(ada)) as accelerator:
        started = accelerator.start()
        assert started.specific["Metering"] == "SUCCESSFULLY ACTIVATED"
        for _ in range(3):
            result = accelerator.process(b"x" * 1000)
            assert result.specific["Metering"] == "SUCCESSFULLY ACTIVATED"
        assert until(lambda: store.usage(*ada)["total"]["jobs"] == 3)
    total = store.usage(*ada, "?by=function")["rows"][0]
    assert (total["key"], total["bytes_in"]) == ("cast_gzip", 3000)
    assert total["engine_us"] > 0


def test_a_wrong_secret_is_one_clear_line_at_construction(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    with pytest.raises(
        AuthenticationError, match=r"Could not authenticate with the store .*client_id and secret_id"
    ) as found:
        Accelerator("cast_gzip", config_file=conf((ada[0], "acs_wrong")))
    assert "\n" not in str(found.value)
    assert "acs_wrong" not in str(found.value)
    good, answer = AcceleratorClass("cast_gzip", config_file=conf((ada[0], "acs_wrong"))).start()
    assert not good
    assert answer["app"]["msg"].startswith("Could not authenticate")


def test_a_key_must_be_given_for_a_store(store: StoreProcess, tmp_path: Path) -> None:
    path = tmp_path / "accelerator.conf"
    path.write_text(f"[accelize]\nurl = {store.url}\nclient_id = a\n")
    with pytest.raises(ConfigurationError, match="secret_id is not set"):
        Accelerator("cast_gzip", config_file=path)


def test_a_store_that_does_not_answer_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError, match="does not answer"):
        StoreClient("http://127.0.0.1:9", "a", "b").token()
    with pytest.raises(ConfigurationError, match="https"):
        StoreClient("http://store.example.org", "a", "b")


def test_a_token_is_asked_for_once(store: StoreProcess, ada: tuple[str, str]) -> None:
    client = StoreClient(store.url, *ada)
    assert client.token() == client.token()
    assert ada[1] not in repr(client)


def test_a_node_takes_no_configuration_without_a_good_key(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    with Accelerator("cast_gzip", config_file=conf(ada)) as accelerator:
        accelerator.start()
        assert accelerator.instance is not None
        headers = {"Authorization": f"Bearer {accelerator.instance.token}"}
        base = f"{accelerator.url}/v1.0/configuration/"

        def configure(env: dict[str, Any]) -> Any:
            fields = {"parameters": json.dumps({"env": {"accelerator": "cast_gzip", **env}})}
            return urllib3.request("POST", base, fields=fields, headers=headers)

        bad: list[dict[str, Any]] = [{}, {"access_token": "x"}, {"access_token": 7}]
        bad.append({"client_id": ada[0], "client_secret": "acs_no"})
        for env in bad:
            answer = configure(env)
            assert answer.status == 401, answer.data
            assert answer.json()["detail"].startswith("Could not authenticate")
        # As clients of old show themselves.
        assert configure({"client_id": ada[0], "client_secret": ada[1]}).status == 200


def test_a_node_knows_whom_to_charge_before_it_configures(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    with Accelerator("cast_gzip", config_file=conf(ada)) as accelerator:
        accelerator.start()
        assert accelerator.instance is not None
        headers = {"Authorization": f"Bearer {accelerator.instance.token}"}
        key = {"client_id": ada[0], "client_secret": ada[1]}
        with closing(sqlite3.connect(state_of(accelerator) / "node.db", isolation_level=None)) as database:

            def configure(name: str, env: dict[str, str], **file: Any) -> Any:
                fields = {"parameters": json.dumps({"env": {"accelerator": name, **env}}), **file}
                url = f"{accelerator.url}/v1.0/configuration/"
                return urllib3.request("POST", url, fields=fields, headers=headers, retries=False)

            def rows(columns: str, table: str) -> list[Any]:
                return database.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()

            assert rows("*", "subjects") == [(1, ada[0])]
            # Bad keys: nothing is configured, kept or charged.
            refused = configure("axonerve_hyperfire", key | {"client_secret": "acs_no"}, datafile=("w.csv", b"a,b\n"))
            assert refused.status == 401
            assert b"ACTIVATED" not in refused.data
            assert len(rows("id", "configurations")) == len(rows("*", "subjects")) == 1
            # One that fails was charged already, and no metering is said to be active.
            failed = configure("axonerve_hyperfire", key, datafile=("w.csv", b"no corpus"))
            assert failed.status == 400
            assert b"ACTIVATED" not in failed.data
            assert rows("*", "subjects") == [(1, ada[0]), (2, ada[0])]
            # When it cannot be written down whom to charge, nothing is configured.
            database.execute("DROP TABLE subjects")
            broken = configure("cast_gzip", key)
            assert broken.status == 500
            assert b"ACTIVATED" not in broken.data
            assert rows("id, used, processed_date", "configurations")[-1] == (3, 0, None)


def test_the_quota_ends_new_jobs_alone(store: StoreProcess, conf: Any) -> None:
    key = store.tenant("small", quota_jobs=2)
    with Accelerator("cast_gzip", config_file=conf(key)) as accelerator:
        accelerator.start()
        for _ in range(2):
            accelerator.process(b"x")
        with pytest.raises(UsageQuotaError, match="no jobs are left until"):
            accelerator.process(b"x")
        assert until(lambda: store.usage(*key)["total"]["jobs"] == 2)
        with pytest.raises(UsageQuotaError):
            accelerator.process(b"x")


def test_usage_waits_for_a_store_that_is_down(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    before = store.usage(*ada)["total"]["jobs"]
    with Accelerator("cast_gzip", config_file=conf(ada)) as accelerator:
        accelerator.start()
        store.down()
        try:
            for _ in range(5):
                accelerator.process(b"x")
        finally:
            store.up()
        assert until(lambda: store.usage(*ada)["total"]["jobs"] == before + 5, 90)
    assert ada[1] not in store.log


def test_what_a_node_could_not_send_before_its_end_the_next_one_sends(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path)
    store.up()
    key = store.tenant("ida")
    config = tmp_path / "accelerator.conf"
    config.write_text(f"[accelize]\nurl = {store.url}\nclient_id = {key[0]}\nsecret_id = {key[1]}\n")
    try:
        with Accelerator("cast_gzip", config_file=config) as accelerator:
            accelerator.start()
            store.down()
            accelerator.process(b"x" * 1000)
            instance = accelerator.instance
        assert instance is not None
        assert instance.stop_mode.name == "TERM"
        store.up()
        assert store.usage(*key)["total"]["jobs"] == 0
        with Accelerator("cast_gzip", config_file=config) as accelerator:
            accelerator.start()
            assert until(lambda: store.usage(*key)["total"]["jobs"] == 1)
            accelerator.process(b"x" * 1000)
        assert until(lambda: store.usage(*key)["total"]["jobs"] == 2)
        assert store.usage(*key)["total"]["bytes_in"] == 2000
    finally:
        store.down()
    unsent = state_folder(Configuration.load(config)) / "unsent"
    assert not [path for path in unsent.glob("*") if (path / "usage-store").read_text() == store.url]


def test_a_configuration_of_another_key_is_not_used(store: StoreProcess, ada: tuple[str, str], conf: Any) -> None:
    bob = store.tenant("bob")
    with Accelerator("cast_gzip", config_file=conf(ada)) as first:
        first.start()
        with Accelerator("cast_gzip", config_file=conf(bob), instance_ip=first.url) as second:
            assert not second.start(stop_mode="KEEP").reused
            second.process(b"y" * 700)
        assert until(lambda: store.usage(*bob)["total"]["bytes_in"] == 700)
