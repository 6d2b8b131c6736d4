"""OAuth2 clients that we did not write get a token and call the API."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from authlib.integrations.requests_client import OAuth2Session
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as OauthlibSession
from stores import StoreProcess

GO = """package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	token := os.Args[1] + "/o/token/"
	config := clientcredentials.Config{ClientID: os.Args[2], ClientSecret: os.Args[3], TokenURL: token}
	answer, err := config.Client(context.Background()).Get(os.Args[1] + "/api/v1/me")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	text, _ := io.ReadAll(answer.Body)
	fmt.Println(string(text))
}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    process.up()
    yield process
    process.down()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib(store: StoreProcess, method: str) -> None:
    client_id, secret = store.tenant(method)
    session = OAuth2Session(client_id, secret, token_endpoint_auth_method=method)
    metadata = session.get(f"{store.url}/.well-known/oauth-authorization-server", withhold_token=True).json()
    session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert session.get(f"{store.url}/api/v1/me").json()["client_id"] == client_id
    token = session.token["access_token"]
    told = session.introspect_token(metadata["introspection_endpoint"], token=token).json()
    assert told["active"]
    assert session.revoke_token(metadata["revocation_endpoint"], token=token).status_code == 200
    assert session.get(f"{store.url}/api/v1/me").status_code == 401


def test_oauthlib(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # on loopback
    client_id, secret = store.tenant("oauthlib")
    session = OauthlibSession(client=BackendApplicationClient(client_id))
    session.fetch_token(f"{store.url}/o/token/", client_id=client_id, client_secret=secret)
    assert session.get(f"{store.url}/api/v1/me").json()["client_id"] == client_id


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_go(store: StoreProcess, tmp_path: Path) -> None:
    client_id, secret = store.tenant("go")
    (tmp_path / "main.go").write_text(GO)
    for command in (
        ["mod", "init", "example.org/client"],
        ["get", "golang.org/x/oauth2@v0.21.0"],
        ["build", "-o", "client"],
    ):
        done = subprocess.run(["go", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        if command[0] == "get" and done.returncode:
            pytest.skip(f"golang.org/x/oauth2 cannot be had: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [tmp_path / "client", store.url, client_id, secret], capture_output=True, text=True, check=False
    )
    assert client_id in done.stdout
