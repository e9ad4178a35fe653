"""The report in a browser: Chromium without a window, driven by selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tiny_run import POSITIVES, make_run

from benchmarks.config import Config
from benchmarks.report import report
from benchmarks.score import score

SOME = ("center", "random", "grad_cam", "guided_backprop", "normgrad_conv1x1_combined", "normgrad_scaling_single")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"  # as in .ci/run: no browser is a failure there

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER) and not REQUIRED,
    reason="THE REPORT IS NOT TESTED IN A BROWSER: install the packages chromium and chromium-driver",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_run(tmp_path_factory.mktemp("page"), methods=SOME)
    score(config)
    report(config)
    return config


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        pytest.fail("BROWSER_TESTS=required, but chromium or chromedriver is not on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    folder = tmp_path_factory.mktemp("browser")
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root otherwise
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, run: Config) -> Iterator[Any]:
    resize(browser, 1200, 900)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get((run.out / "report.html").as_uri())
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def resize(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def texts(page: Any, selector: str) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)


def accuracies(page: Any) -> dict[str, float]:
    names = texts(page, "#table tbody th")
    return dict(zip(names, map(float, texts(page, "#table tbody td:nth-child(3)")), strict=True))


def expected(run: Config, protocol: str, tolerance: int) -> list[float]:
    table = pd.read_csv(run.out / "summary.csv")
    chosen = table[(table["protocol"] == protocol) & (table["tolerance"] == tolerance)]
    return sorted((round(100 * value, 1) for value in chosen["accuracy"]), reverse=True)


def click(page: Any, selector: str, text: str | None = None) -> None:
    found = page.find_elements(By.CSS_SELECTOR, selector)
    page.execute_script("arguments[0].click()", next(e for e in found if text is None or e.text == text))


def press(page: Any, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def canvas(page: Any) -> tuple[str, str]:
    """Film and method on the stage, once they are drawn."""
    return page.execute_async_script("""
        const done = arguments[0], canvas = document.getElementById("canvas");
        const wait = () => {
            const film = galleryFilms()[shown.film].name;
            if (canvas.dataset.film === film && canvas.dataset.method === shown.method) done([film, shown.method]);
            else setTimeout(wait, 20);
        };
        wait();
    """)


def test_fetches_nothing(page: Any) -> None:
    names = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")

    assert [name for name in names if not name.startswith("data:")] == []


def test_table_follows_protocol_and_tolerance(page: Any, run: Config) -> None:
    assert list(accuracies(page).values()) == expected(run, "fair", 15)

    click(page, "#protocol button", "paper")
    click(page, "#tolerance button", "inside")

    assert list(accuracies(page).values()) == expected(run, "paper", 0)
    pressed = texts(page, ".segments button[aria-pressed=true]")
    assert pressed == ["paper", "inside"]


def test_table_sorts_by_mouse_and_keyboard(page: Any) -> None:
    values = list(accuracies(page).values())
    click(page, "#sort-accuracy")
    assert list(accuracies(page).values()) == sorted(values)
    page.find_element(By.ID, "sort-method").send_keys(Keys.ENTER)

    names = list(accuracies(page))
    assert names == sorted(names, key=str.lower)
    assert page.find_element(By.CSS_SELECTOR, "th[aria-sort=ascending]").text.startswith("Method")
    assert page.switch_to.active_element.get_attribute("id") == "sort-method"


def test_filters(page: Any) -> None:
    click(page, "#families button", "baseline")
    assert len(accuracies(page)) == 4
    page.find_element(By.ID, "query").send_keys("normgrad")

    assert len(accuracies(page)) == 2
    assert "2 of 6 methods" in page.find_element(By.ID, "shown").text
    assert len(texts(page, "#gallery-methods [role=option]")) == 2
    page.find_element(By.ID, "query").send_keys("zzz")  # nothing left: no part of the page breaks
    assert accuracies(page) == {}


def test_brief_names_the_best(page: Any) -> None:
    best = next(iter(accuracies(page)))

    assert texts(page, "#brief li")[0].startswith(f"{best} is best")


def test_gallery_by_arrow_keys(page: Any, run: Config) -> None:
    scores = pd.read_parquet(run.out / "scores.parquet").set_index(["image", "method", "protocol"])
    page.find_element(By.ID, "gallery").send_keys("")
    page.execute_script("document.getElementById('gallery').focus()")
    seen = set()
    for _ in range(POSITIVES):
        for _ in SOME:
            film, method = canvas(page)
            seen.add((film, method))
            distance = scores.loc[(film, method, "fair"), "distance"]
            caption = page.find_element(By.ID, "caption").text
            assert (": hit" in caption) == (distance < 15)
            assert (": miss" in caption) == (distance >= 15)
            assert page.find_element(By.ID, "mark").get_attribute("class") == ("hit" if distance < 15 else "miss")
            press(page, Keys.ARROW_DOWN)
        press(page, Keys.ARROW_RIGHT)

    assert len(seen) == POSITIVES * len(SOME)
    press(page, Keys.END)
    assert canvas(page)[0] == page.execute_script("return films[films.length - 1].name")
    press(page, Keys.HOME, Keys.ARROW_LEFT)  # goes round
    assert canvas(page)[0] == page.execute_script("return films[films.length - 1].name")


def test_map_and_mark_lie_over_the_film(page: Any) -> None:
    page.execute_script("showMethod('center')")
    canvas(page)
    centre = """
        const canvas = document.getElementById("canvas"), context = canvas.getContext("2d");
        return [...context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3)];
    """
    red, _, blue = page.execute_script(centre)
    assert red > blue + 40  # the ramp ends in yellow
    press(page, "m")
    canvas(page)
    grey = page.execute_script(centre)
    assert max(grey) - min(grey) < 25  # the film is grey
    mark, stage = (
        page.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()", name)
        for name in ("mark", "stage")
    )
    assert mark["x"] + mark["width"] / 2 == pytest.approx(stage["x"] + stage["width"] / 2, abs=0.02 * stage["width"])
    assert stage["width"] / stage["height"] == pytest.approx(1.5, rel=0.02)  # the aspect of the film


def test_table_row_leads_to_the_gallery(page: Any) -> None:
    click(page, "#table tbody tr:last-child th button")

    assert canvas(page)[1] in SOME
    assert (
        page.find_element(By.CSS_SELECTOR, "[role=option][aria-selected=true]").text.split("\n")[0]
        in (list(accuracies(page))[-1])
    )
    assert page.switch_to.active_element.get_attribute("id") == "gallery"


def test_keyboard_focus_is_seen(page: Any) -> None:
    press(page, Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the table"
    for _ in range(8):
        press(page, Keys.TAB)
        style = page.execute_script(
            "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]"
        )
        assert style[0] == "solid"
        assert float(style[1].removesuffix("px")) >= 2


def test_everything_has_a_name(page: Any) -> None:
    unnamed = page.execute_script("""
        return [...document.querySelectorAll("button, input, select, canvas, [tabindex='0'], svg[role=img]")]
            .filter(e => !(e.textContent.trim() || e.getAttribute("aria-label") || (e.labels && e.labels.length)))
            .map(e => e.outerHTML.slice(0, 80));
    """)

    assert unnamed == []


@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_sticks_out_of_a_narrow_screen(page: Any, width: int) -> None:
    resize(page, width, 800)

    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(page: Any, scheme: str, tmp_path: Path) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    contrasts = page.execute_script("""
        const rgb = text => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const behind = e => {
            if (!e) return [255, 255, 255];
            const [r, g, b, a = 1] = rgb(getComputedStyle(e).backgroundColor);
            if (a === 1) return [r, g, b];
            return behind(e.parentElement).map((v, i) => v * (1 - a) + [r, g, b][i] * a);
        };
        const kinds = "h1, p, li, th, td, td span, dd, legend, button, a, [role=option], [role=option] span";
        return [...document.querySelectorAll(kinds)]
            .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
            .filter(e => e.offsetParent && !e.closest("#strip"))
            .map(e => {
                const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
                return [(a + .05) / (b + .05), e.tagName + " " + e.textContent.slice(0, 30)];
            });
    """)
    assert len(contrasts) > 50
    assert [entry for entry in contrasts if entry[0] < 4.5] == []
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ("251" in background) == (scheme == "light")
