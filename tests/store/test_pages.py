"""A person's whole way in a real browser: sign up, key, example, run it, see it on the chart."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import Tab, serious
from playwright.sync_api import Browser, Page, expect
from stores import StoreProcess

# A folder: take the pictures of the docs anew (docs/images).
PICTURES = os.environ.get("STORE_PICTURES")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    process.up()
    yield process
    process.down()


@pytest.fixture
def page(browser: Browser, store: StoreProcess) -> Iterator[Page]:
    """A tab that may not complain and may not ask anybody but the store."""
    tab = Tab(browser)
    yield tab.page
    tab.close()
    assert tab.complaints == []
    assert [url for url in tab.asked if not url.startswith(store.url)] == []


def check(page: Page, name: str) -> list[str]:
    """What hinders people, in light and dark, on a wide and a narrow screen; a picture when they are wanted."""
    wrong = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        wrong += [f"{name} {scheme}: {each}" for each in serious(page)]
        if PICTURES and scheme == "light" and name in ("catalogue", "function", "usage"):
            page.screenshot(path=f"{PICTURES}/store-{name}.png", full_page=False)
    page.emulate_media(color_scheme="light")
    wide = page.viewport_size
    page.set_viewport_size({"width": 360, "height": 640})
    if not page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"):
        wrong.append(f"{name} is wider than a narrow screen")
    page.set_viewport_size(wide)  # type: ignore[arg-type]
    return wrong


def test_the_whole_way(store: StoreProcess, page: Page, tmp_path: Path) -> None:
    publisher = store.tenant("publisher")
    environment = store.environment | {
        "ACCELERATOR_ACCELIZE_URL": store.url,
        "ACCELERATOR_ACCELIZE_CLIENT_ID": publisher[0],
        "ACCELERATOR_ACCELIZE_SECRET_ID": publisher[1],
    }
    publish = [sys.executable, "-m", "acceleratorAPI", "store", "publish", "--all", "--price-gb", "0.02"]
    # A page with all that pages of functions have: code, tables, long words, links.
    publish += ["--docs", str(Path(__file__).parents[2] / "docs" / "functions" / "axonerve_hyperfire.md")]
    done = subprocess.run(publish, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run(publish, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "cast_gzip 1.1: published already" in again.stderr

    page.goto(store.url)
    wrong = check(page, "catalogue")
    page.get_by_label("Search").fill("gzip cores")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_role("listitem")).not_to_have_count(0)

    page.get_by_role("link", name="Sign up").click()
    wrong += check(page, "sign-up")
    page.get_by_label("E-mail address").fill("grace@example.org")
    page.get_by_label("Name").fill("Grace")
    page.get_by_label("Organisation").fill("Grace's works")
    page.get_by_label("Password", exact=True).fill("correct horse battery")
    page.get_by_label("Password confirmation").fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No key yet")).to_be_visible()
    wrong += check(page, "no-keys")
    page.goto(f"{store.url}/usage/")
    expect(page.get_by_text("Nothing was used in these days")).to_be_visible()
    wrong += check(page, "no-usage")

    page.goto(f"{store.url}/keys/")
    page.get_by_label("Name").fill("first")
    page.get_by_role("button", name="Make the key").click()
    conf = page.locator("#conf").inner_text()
    assert re.search(r"secret_id = acs_\S+", conf)
    wrong += check(page, "new-key")
    page.get_by_role("link", name="Choose a function to run").click()
    page.goto(f"{store.url}/functions/cast_gzip/")
    example, command = page.locator("#python").inner_text(), page.locator("#cli").inner_text()
    wrong += check(page, "function")

    page.goto(f"{store.url}/functions/secureic_trng/")
    assert page.locator("#python").inner_text().count('process(None, "output.dat", nbBytes=1000)') == 1
    assert page.locator("#curl").inner_text().count("""'parameters={"app": {"specific": {"nbBytes": 1000}}}'""") == 1
    random = page.locator("#cli").inner_text()

    (tmp_path / "accelerator.conf").write_text(conf)
    (tmp_path / "input.dat").write_bytes(os.urandom(2_000_000))
    (tmp_path / "example.py").write_text(example)
    for text in (random, command):
        line = shlex.split(text)[1:]
        run = subprocess.run(
            [sys.executable, "-m", "acceleratorAPI", *line], cwd=tmp_path, capture_output=True, check=False
        )
        assert run.returncode == 0, run.stderr
    run = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("2000000 ")

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        page.goto(f"{store.url}/usage/")
        if page.locator("#total-jobs").count() and page.locator("#total-jobs").inner_text() == "3":
            break
        time.sleep(0.5)
    expect(page.locator("#total-jobs")).to_have_text("3")
    chart = page.get_by_role("img", name=re.compile("Jobs by day: 3 in all"))
    expect(chart).to_be_visible()
    assert chart.evaluate("image => image.complete && image.naturalWidth > 0")
    wrong += check(page, "usage")
    for address in ("/usage/?by=node&measure=cost", "/usage/?from=x", "/usage/jobs/", "/organisation/", "/keys/"):
        page.goto(store.url + address)
        wrong += check(page, address)
    page.get_by_role("link", name="first").click()
    page.get_by_label("GB a month").fill("2.5")
    page.get_by_role("button", name="Set the quota").click()
    expect(page.get_by_label("GB a month")).to_have_value("2.5")
    page.get_by_text("Revoke…").click()
    wrong += check(page, "key")
    page.get_by_role("button", name="Revoke first for good").click()
    expect(page.get_by_role("cell", name="revoked")).to_be_visible()
    assert wrong == []


def test_the_pages_around_an_account(store: StoreProcess, page: Page) -> None:
    wrong = []
    for address in ("/sign-in/", "/password/", "/password/sent/", "/password/x/y/", "/password/done/", "/?q=nothing"):
        page.goto(store.url + address)
        wrong += check(page, address)
    page.goto(f"{store.url}/password/x/y/")
    page.get_by_role("link", name="Ask for a new one").click()
    expect(page.get_by_role("button", name="Send the link")).to_be_visible()
    assert wrong == []


def test_everything_can_be_reached_by_keyboard(store: StoreProcess, page: Page) -> None:
    page.goto(store.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert {"q", "Search", "Sign in", "Sign up"} <= seen
