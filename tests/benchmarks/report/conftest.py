"""The report of a tiny run, open in a browser: Chromium without a window, driven by selenium."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import SOME, resize
from further_tables_made_up import write_further_tables
from many_methods import write_page_with_many_methods
from selenium import webdriver
from tiny_run import make_run

from benchmarks.data.open_run import open_run
from benchmarks.report.assemble import report
from benchmarks.run.config import Config
from benchmarks.scoring.score import score

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_run(tmp_path_factory.mktemp("page"), methods=SOME)
    kinds = ("coin", "pin", "coin;zip", "zip", "coin")
    rows = [f"{number:05d}.png,{kind}" for number, kind in enumerate(kinds)]
    table = config.data_root / "test.csv"
    table.write_text(re.sub(r"(00002\.png,.*)", r"\1;0 1 1 9 9", table.read_text()))
    (config.data_root / "test_kinds.csv").write_text("\n".join(["image_name,kinds", *rows]))
    (config.out / "config.json").unlink()
    open_run(config)
    score(config)
    write_further_tables(config.out, SOME)
    report(config)
    write_page_with_many_methods(config.out / "report.html", config.out / "many.html", 70)
    return config


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        if os.environ.get("BROWSER_TESTS") == "required":  # as in .ci/run
            pytest.fail("BROWSER_TESTS=required, but chromium or chromedriver is not on the path")
        pytest.skip("THE REPORT IS NOT TESTED IN A BROWSER: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    folder = tmp_path_factory.mktemp("browser")
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root otherwise
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, reported: Config) -> Iterator[Any]:
    resize(browser, 1200, 900)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get((reported.out / "report.html").as_uri())
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def many(page: Any, reported: Config) -> Any:
    page.get((reported.out / "many.html").as_uri())
    return page
