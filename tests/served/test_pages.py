"""The document's pages in a real browser that reaches nothing but this machine, under the policy that comes with them.

What the policy forbids a page would be a complaint on its console.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.emulator.process import ROOT
from tests.served.conftest import Served

PATIENCE_SECONDS = 20
# Where Swagger UI lets long paths be broken.
BREAK = "\u200b"
PATHS = json.loads((ROOT / "functions/public/openapi.json").read_text())["paths"]
OPERATIONS = {
    operation["operationId"]: (operation["tags"][0], operation["summary"], path)
    for path, operations in PATHS.items()
    for operation in operations.values()
}

each_prefix = pytest.mark.parametrize("prefix", ["", "/api"])


class Browser:
    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        self._driver.get(url)

    def title(self) -> str:
        return str(self._driver.title)

    def insert_script(self, text: str) -> None:
        """As somebody could who got markup of his own into the page."""
        self._driver.execute_script(
            "document.head.append(Object.assign(document.createElement('script'), {text: arguments[0]}))", text
        )

    def one(self, selector: str) -> Any:
        """The element, as soon as it is to be seen."""

        def seen(_driver: Chrome) -> Any:
            return next((element for element in self._all(selector) if element.is_displayed()), None)

        return WebDriverWait(self._driver, PATIENCE_SECONDS, poll_frequency=0.05).until(seen, selector)

    def click(self, selector: str) -> None:
        element = self.one(selector)
        self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def click_all(self, selector: str) -> None:
        self._driver.execute_script("document.querySelectorAll(arguments[0]).forEach(it => it.click())", selector)

    def _all(self, selector: str) -> list[Any]:
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def complaints(self) -> list[str]:
        """What the page has written to the console since this was asked last, failed requests included."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requested(self) -> list[str]:
        """All that was asked of the network since this was asked last."""
        messages = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url.startswith(("http:", "https:", "ws:", "wss:"))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium (no chromium and chromedriver installed)")
    profile: Path = tmp_path_factory.mktemp("profile")
    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        "--window-size=1280,1600",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = Chrome(options, Service(driver))
    yield Browser(started)
    started.quit()


@each_prefix
def test_a_job_is_submitted_from_swagger_ui(browser: Browser, served: Served, prefix: str) -> None:
    submit = "#operations-client-submit_job"
    browser.open(f"{served.url}{prefix}/docs")

    browser.click(".auth-wrapper .authorize")
    browser.one(".modal-ux input").send_keys(served.keys["client"])
    browser.click(".modal-ux .authorize")
    browser.click(".modal-ux .btn-done")
    browser.click(f"{submit} .opblock-summary-control")
    browser.click(f"{submit} .try-out__btn")
    browser.click(f"{submit} .execute")

    answer = browser.one(f"{submit} .live-responses-table .response")
    assert answer.find_element(By.CSS_SELECTOR, ".response-col_status").text.split()[0] == "201"
    job = json.loads(answer.find_element(By.CSS_SELECTOR, ".highlight-code code").text)
    key = {"X-Api-Key": served.keys["client"]}
    assert (
        served.emulator.call("GET", f"/v1/client/jobs/{job['id']}", headers=key).json["parameters"] == job["parameters"]
    )
    assert browser.complaints() == []
    assert [url for url in browser.requested() if not url.startswith(f"{served.url}{prefix}/")] == []


def test_swagger_ui_shows_every_operation_in_full(browser: Browser, served: Served) -> None:
    browser.open(f"{served.url}/docs")

    for operation_id, (tag, summary, path) in OPERATIONS.items():
        shown = browser.one(f"#operations-{tag}-{operation_id} .opblock-summary").text
        assert summary in shown
        assert path in shown.replace(BREAK, "")
    browser.click_all(".opblock-summary-control")
    for operation_id, (tag, _, _) in OPERATIONS.items():
        block = f"#operations-{tag}-{operation_id}"
        assert browser.one(f"{block} .opblock-description").get_attribute("textContent")
        assert browser.one(f"{block} .responses-table").get_attribute("textContent")
    assert browser.complaints() == []


@each_prefix
def test_redoc_shows_every_operation(browser: Browser, served: Served, prefix: str) -> None:
    browser.open(f"{served.url}{prefix}/redoc")

    for operation_id, (tag, summary, path) in OPERATIONS.items():
        section = browser.one(f"[id='tag/{tag}/operation/{operation_id}']")
        assert section.find_element(By.TAG_NAME, "h2").text == summary
        assert path in section.text
    assert browser.complaints() == []
    requested = browser.requested()
    assert f"{served.url}{prefix}/openapi.json" in requested
    assert [url for url in requested if not url.startswith(f"{served.url}{prefix}/")] == []


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_page_runs_no_script_but_its_own(browser: Browser, served: Served, page: str) -> None:
    browser.open(f"{served.url}/{page}")
    before = browser.title()

    browser.insert_script("document.title = 'taken over'")

    assert browser.title() == before
    [complaint] = browser.complaints()
    assert "Content Security Policy" in complaint
