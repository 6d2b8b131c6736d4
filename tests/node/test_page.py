"""The live page in a real browser: headless Chromium of the system, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browsers import Tab, serious
from playwright.sync_api import Browser, Page, expect


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab of its own, which may not complain, may not ask anybody but the node, and says nothing in addresses."""
    tab = Tab(browser)
    yield tab.page
    own = tab.page.url.split("?")[0].rstrip("/")
    tab.close()
    # A refused token and a node that is gone are errors to the browser, not to the page.
    assert [each for each in tab.complaints if not each.startswith("error: Failed to load resource")] == []
    assert [url for url in tab.asked if not url.startswith(own) or "?" in url] == []


def enter(page: Page, node: Any, token: str | None = None) -> None:
    page.goto(node.url)
    page.get_by_label("Token").fill(token or node.token or "")
    page.get_by_role("button", name="Show the node").click()


def slow_job(node: Any, size: int = 60) -> Any:
    """A job that reads a byte each twentieth of a second."""
    return node.send(node.configure("test_slow"), b"x" * size, seconds=size / 20)


def test_a_running_job_is_shown_to_its_end(page: Page, node: Any) -> None:
    enter(page, node)
    job = slow_job(node)
    row = page.locator("#jobs tr", has=page.get_by_role("cell", name=job["id"], exact=True))
    bar = row.get_by_role("progressbar", name=f"Progress of job {job['id']}")
    expect(row).to_contain_text("running")
    page.wait_for_function("bar => bar.isConnected === false || bar.value > 0.1", arg=bar.element_handle())
    first = bar.evaluate("bar => bar.value")
    page.wait_for_function(
        "([id, first]) => [...document.querySelectorAll('progress')].some("
        "bar => bar.getAttribute('aria-label') === `Progress of job ${id}` && bar.value > first)",
        arg=[job["id"], first],
    )
    assert 0 < first < 1
    expect(page.locator("#slots")).to_contain_text(f"job {job['id']}, test_slow")
    expect(row).to_contain_text("succeeded")
    expect(page.get_by_role("status")).to_contain_text(f"Job {job['id']} (test_slow) succeeded")
    expect(row.get_by_role("progressbar")).to_have_count(0)


def test_a_failed_job_says_so(page: Page, node: Any) -> None:
    enter(page, node)
    expect(page.locator("#node")).to_be_visible()
    job = node.send(node.configure("test_fail"), b"x")
    row = page.locator("#jobs tr", has=page.get_by_role("cell", name=job["id"], exact=True))
    expect(row).to_contain_text("failed: function-failed")


@pytest.mark.parametrize("token", ["wrong", "tøken", "two words"])
def test_a_wrong_token_is_refused_in_words(page: Page, node: Any, token: str) -> None:
    enter(page, node, token)
    expect(page.get_by_role("status")).to_have_text("This is not the token of this node.")
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator("#node")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_token_stays_in_the_tab_and_can_be_forgotten(page: Page, node: Any) -> None:
    enter(page, node)
    expect(page.locator("#node")).to_be_visible()
    assert page.url == f"{node.url}/"
    page.reload()
    expect(page.locator("#node")).to_be_visible()
    page.get_by_role("button", name="Forget token").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.context.cookies() == []


def test_the_keyboard_is_enough(page: Page, node: Any) -> None:
    page.goto(node.url)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(node.token or "")
    page.keyboard.press("Enter")
    expect(page.locator("#node")).to_be_visible()
    page.locator("body").press("Tab")
    expect(page.get_by_role("link", name="API")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Forget token")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_read_by_everybody(page: Page, node: Any, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(node.url)
    expect(page.get_by_label("Token")).to_be_visible()
    assert serious(page) == []
    page.get_by_label("Token").fill(node.token or "")
    page.keyboard.press("Enter")
    slow_job(node)
    expect(page.get_by_role("progressbar").first).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_a_node_without_a_token_asks_for_none_and_its_end_is_seen(page: Page, nodes: Any) -> None:
    node = nodes("--auth", "none", "--slots", "1")
    page.goto(node.url)
    expect(page.locator("#node")).to_be_visible()
    expect(page.get_by_role("button", name="Forget token")).to_be_hidden()
    expect(page.get_by_text("No job since the node's start.")).to_be_visible()
    node.end()
    expect(page.get_by_role("status")).to_have_text("The node does not answer. Trying again.")
