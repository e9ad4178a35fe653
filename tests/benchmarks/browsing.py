"""What tests do to a page in a browser, and read in it."""

from __future__ import annotations

from typing import Any

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

SOME = ("center", "random", "grad_cam", "guided_backprop", "normgrad_conv1x1_combined", "normgrad_scaling_single")
"""Methods of the run whose report is read."""


def resize(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def texts(page: Any, selector: str) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)


def heads(page: Any) -> list[str]:
    return texts(page, "#table thead th")


def accuracies(page: Any) -> dict[str, float]:
    names = texts(page, "#table tbody th")
    return dict(zip(names, map(float, texts(page, "#table tbody td:nth-child(3)")), strict=True))


def click(page: Any, selector: str, text: str | None = None) -> None:
    found = page.find_elements(By.CSS_SELECTOR, selector)
    page.execute_script("arguments[0].click()", next(e for e in found if text is None or e.text == text))


def choose_column(page: Any, label: str) -> None:
    for box in page.find_elements(By.CSS_SELECTOR, "#columns label"):
        if box.get_attribute("textContent").strip() == label:
            page.execute_script("arguments[0].click()", box.find_element(By.TAG_NAME, "input"))
            return
    raise AssertionError(label)


def press(page: Any, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()
