"""A real headless browser opens the page: nothing to complain about, and every picture drawn."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.report.page import write_report
from tests.report.conftest import VERDICT

pytestmark = pytest.mark.slow
Make = Callable[..., Path]
SIZES = {"screen": (1200, 900), "phone": (380, 800)}


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a window; its machine has it by `apt-get install chromium chromium-driver`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        assert not os.environ.get("CI"), "CI installs chromium and chromium-driver"
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def requests_of(browser: Any) -> list[str]:
    """Return what the page has asked for."""
    import json

    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_drawn_and_nothing_is_fetched(
    output_of: Make, browser: Any, scheme: str, tmp_path: Path
) -> None:
    file = write_report(output_of(verdict=VERDICT))
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for width, height in SIZES.values():
        browser.set_window_size(width, height)
        browser.get(file.as_uri())
        assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
        assert requests_of(browser) == [file.as_uri()]
        frames = browser.execute_script(
            "return [...document.querySelectorAll('svg')].map(svg => {"
            " const frame = svg.getBoundingClientRect(), drawn = svg.getBBox();"
            " return [frame.width, frame.height, drawn.width, drawn.height, svg.querySelectorAll('path').length] })"
        )
        assert len(frames) == 11
        assert all(min(frame) > 2 for frame in frames), frames
        # No part of the page but tables, which scroll by themselves, is wider than the window.
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        ink, paper = browser.execute_script(
            "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        )
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 23, 29)"}[scheme]
        label = browser.execute_script("return getComputedStyle(document.querySelector('svg text')).fill")
        assert label == ink


def test_the_page_resumes_paper(output_of: Make, browser: Any) -> None:
    browser.get(write_report(output_of(verdict=VERDICT)).as_uri())
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = browser.execute_script(
        "const cell = [...document.querySelectorAll('details td')][0]; return cell.getBoundingClientRect().height"
    )
    assert hidden > 0
