"""The report in a browser: Chromium without a window, driven by selenium."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from further_tables_made_up import write_further_tables
from many_methods import embedded, write_page_with_many_methods
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from tiny_run import POSITIVES, make_run

from benchmarks.analysis.by_verdict import by_verdict
from benchmarks.analysis.hierarchical import differences, summarise_seeds
from benchmarks.data.open_run import open_run
from benchmarks.report.assemble import report
from benchmarks.report.page import page as html_page
from benchmarks.report.seeds_page import write_seeds_page
from benchmarks.run.config import Config
from benchmarks.scoring.score import score

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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
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


@pytest.fixture
def many(page: Any, run: Config) -> Any:
    page.get((run.out / "many.html").as_uri())
    return page


def test_fetches_nothing(page: Any, run: Config) -> None:
    page.get_log("performance")  # of the pages before
    page.get((run.out / "report.html").as_uri())
    press(page, Keys.END)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    assert asked[0] == (run.out / "report.html").as_uri()
    assert [url for url in asked[1:] if not url.startswith("data:")] == []


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


def test_filters_by_cost_and_by_several_words(page: Any) -> None:
    click(page, "#costs button", "no pass")
    assert len(accuracies(page)) == 4  # neither centre nor chance
    click(page, "#costs button", "no pass")
    page.find_element(By.ID, "query").send_keys("combined conv1x1")

    assert list(accuracies(page)) == ["NormGrad conv1x1 combined"]


def heads(page: Any) -> list[str]:
    return texts(page, "#table thead th")


def choose_column(page: Any, label: str) -> None:
    for box in page.find_elements(By.CSS_SELECTOR, "#columns label"):
        if box.get_attribute("textContent").strip() == label:
            page.execute_script("arguments[0].click()", box.find_element(By.TAG_NAME, "input"))
            return
    raise AssertionError(label)


def test_columns_are_chosen(page: Any) -> None:
    assert "Energy" in heads(page)
    assert "Ranks" not in heads(page)
    choose_column(page, "Ranks")
    choose_column(page, "Energy")

    assert "Ranks" in heads(page)
    assert "Energy" not in heads(page)
    assert {
        len(row.find_elements(By.CSS_SELECTOR, "th, td")) for row in page.find_elements(By.CSS_SELECTOR, "#table tr")
    } == {len(heads(page))}


def test_columns_are_reached_by_keyboard(page: Any) -> None:
    page.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    press(page, Keys.TAB, Keys.SPACE)  # the first box: the interval

    assert "95 % interval" not in heads(page)


def test_the_table_is_split_by_the_verdict_of_the_classifier(page: Any, run: Config) -> None:
    choose_column(page, "Misses that are the classifier's, %")
    table = pd.read_csv(run.out / "summary_verdicts.csv")
    table = table[(table["protocol"] == "fair") & (table["tolerance"] == 15)].set_index(["verdict", "method"])
    names = page.execute_script("return sortedRows().map((row) => row.method)")
    for label, verdict, column in (
        ("Says object, %", "object", "accuracy"),
        ("Misses it, %", "clean", "accuracy"),
        ("Misses that are the classifier's, %", "clean", "share_of_misses"),
    ):
        place = heads(page).index(label)
        shown = texts(page, f"#table tbody tr > :nth-child({place + 1})")
        digits = 1 if column == "accuracy" else 0
        values = [table.loc[(verdict, name), column] for name in names]
        assert shown == ["\u2013" if pd.isna(value) else f"{100 * value:.{digits}f}" for value in values]


def measure_column(page: Any, label: str) -> list[float]:
    place = heads(page).index(label)
    return [float(text) for text in texts(page, f"#table tbody tr > :nth-child({place + 1}) > span")]


def test_table_sorts_by_a_measure_best_first(page: Any, run: Config) -> None:
    choose_column(page, "Deletion (lower is better)")
    table = pd.read_csv(run.out / "measures.csv").pivot(index="method", columns="measure", values="value")
    for name, label, best_first in (("energy", "Energy", True), ("deletion", "Deletion (lower is better)", False)):
        click(page, f"#sort-measure-{name}")
        expected_values = sorted(table[name].round(3), reverse=best_first)
        assert measure_column(page, label) == pytest.approx(expected_values)
        click(page, f"#sort-measure-{name}")
        assert measure_column(page, label) == pytest.approx(expected_values[::-1])


def test_intervals_of_measures_are_shown_when_asked_for(page: Any) -> None:
    assert texts(page, "#table .interval") == []
    choose_column(page, "intervals of the measures")
    page.find_element(By.ID, "query").send_keys("grad-cam")

    assert texts(page, "#table .interval") == ["0.400 \u2013 0.600"] * 4


def test_brief_names_the_best(page: Any) -> None:
    best = next(iter(accuracies(page)))

    assert texts(page, "#brief li")[0].startswith("The classifier has AUC 0.500")
    assert texts(page, "#brief li")[1].startswith(f"{best} is best")
    assert "Energy Grad-CAM (0.500)" in texts(page, "#brief li")[-1]  # of made-up values; baselines do not count


def test_breakdown_by_kind(page: Any, run: Config) -> None:
    Select(page.find_element(By.ID, "by")).select_by_value("kind")
    table = pd.read_csv(run.out / "breakdown.csv")
    table = table[(table["breakdown"] == "kind") & (table["protocol"] == "fair") & (table["tolerance"] == 15)]

    assert texts(page, "#breakdown thead th")[1:] == ["coin2 films", "pin1 film", "zip1 film", "several kinds1 film"]
    center = table[table["method"] == "center"].set_index("group")["accuracy"]
    row = next(r for r in page.find_elements(By.CSS_SELECTOR, "#breakdown tbody tr") if r.text.startswith("Center"))
    shown = [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
    assert shown == [f"{100 * center[group]:.0f}" for group in ("coin", "pin", "zip", "several kinds")]


def test_detection_curves(page: Any) -> None:
    assert len(page.find_elements(By.CSS_SELECTOR, "#froc-chart polyline")) == len(SOME)
    assert texts(page, "#froc thead th") == ["Method", "1/8", "1/4", "1/2", "1", "2", "4", "8", "mean"]
    button = page.find_elements(By.CSS_SELECTOR, "#froc tbody th button")[1]
    name = button.get_attribute("id")
    button.send_keys(Keys.ENTER)

    assert texts(page, "#froc-chart text[font-weight]") == ["2"]
    assert page.switch_to.active_element.get_attribute("id") == name
    press(page, Keys.ENTER)
    assert sorted(texts(page, "#froc-chart text[font-weight]")) == [str(i + 1) for i in range(len(SOME))]


def test_consistency_has_its_units(page: Any, run: Config) -> None:
    table = pd.read_csv(run.out / "consistency.csv")
    panel = Select(page.find_element(By.ID, "consistency-panel"))
    assert len(panel.options) == 4 * 2 + 1
    panel.select_by_visible_text("Smoothed or not: difference, points")

    assert texts(page, "#consistency thead th") == ["Method", "smoothed"]
    values = table[(table["check"] == "smoothing") & (table["measure"] == "accuracy_difference")]["value"]
    assert sorted(map(float, texts(page, "#consistency tbody td"))) == pytest.approx(sorted(100 * values), abs=0.051)
    panel.select_by_visible_text("Weights drawn anew: rank correlation")
    assert texts(page, "#consistency thead th")[1:] == [
        "head only",
        "cascade 02 layer4",
        "cascade 03 layer3",
        "all weights",
    ]


def test_parts_without_a_table_are_left_out(page: Any, run: Config, tmp_path: Path) -> None:
    data = embedded((run.out / "report.html").read_text())
    (tmp_path / "bare.html").write_text(
        html_page({**data, "measures": [], "froc": None, "consistency": [], "breakdown": []})
    )
    page.get((tmp_path / "bare.html").as_uri())

    shown = [link.text for link in page.find_elements(By.CSS_SELECTOR, "nav a") if link.is_displayed()]
    assert shown == ["Table", "Films", "Ranking", "Cost", "Notes"]
    hidden = [section for section in page.find_elements(By.TAG_NAME, "section") if not section.is_displayed()]
    assert {section.get_attribute("id") for section in hidden} == {
        "breakdown-section",
        "froc-section",
        "consistency-section",
        "localisation-section",
    }


def test_the_page_of_several_seeds_shows_what_holds_over_them(page: Any, run: Config, tmp_path: Path) -> None:
    """Of made-up hits of three seeds: Grad-CAM is far worse in both, input x gradient better in one of them."""
    marks = [
        {"guided_backprop": "1" * 30, "input_x_gradient": "1" * 29 + "0", "grad_cam": "1" * 3 + "0" * 27},
        {"guided_backprop": "1" * 24 + "0" * 6, "input_x_gradient": "1" * 25 + "0" * 5, "grad_cam": "0" * 30},
        {"guided_backprop": "1" * 27 + "0" * 3, "input_x_gradient": "1" * 27 + "0" * 3, "grad_cam": "1" * 1 + "0" * 29},
    ]
    columns = ["image", "method", "protocol", "distance", "status", "seconds", "batch", "label", "target"]
    scores = [
        pd.DataFrame(
            [
                (f"{i:02}.png", method, protocol, 0.0 if mark == "1" else 99.0, "ok", 0.1, 0, 1, int(i > 5))
                for method, hits in seed.items()
                for protocol in ("paper", "fair")
                for i, mark in enumerate(hits)
            ],
            columns=columns,
        )
        for seed in marks
    ]
    order = list(marks[0])
    tables = {
        "summary.csv": summarise_seeds(scores, 0, order),
        "differences.csv": differences(scores, 0, order),
        "summary_verdicts.csv": by_verdict(scores, 0, order),
        "seeds.csv": pd.DataFrame({"seed": [0, 1, 2], "auc": [0.9, 0.95, 0.92], "missed": [0.2, 0.2, 0.2]}),
    }
    write_seeds_page(run.replace(out=tmp_path), scores, tables, {"0": 0.05, "15": 0.1, "25": 0.12})
    page.get((tmp_path / "report.html").as_uri())

    assert list(accuracies(page).values()) == [90.0, 90.0, 4.4]
    first, second, third = texts(page, "#table tbody td:nth-child(5)")
    assert first == "best"
    assert second.startswith("none shown, 0.0 [")
    assert third.startswith("yes, -85.6 [")
    brief = texts(page, "#brief li")
    assert brief[0].startswith("The 3 classifiers have AUC 0.900 to 0.950")
    assert "tell it apart from 1 of the other 2 methods" in brief[3]
    assert "draws the seeds" in page.find_element(By.ID, "intervals-note").get_attribute("textContent")
    assert not page.find_element(By.ID, "gallery-section").is_displayed()
    assert len(page.find_elements(By.CSS_SELECTOR, "#ranking circle")) == 3


def test_many_methods_open_with_the_best(many: Any) -> None:
    best = list(accuracies(many))
    assert len(best) == 20
    click(many, "#most button", "all")

    everything = accuracies(many)
    assert len(everything) == 70
    assert list(everything)[:20] == best
    assert list(everything.values()) == sorted(everything.values(), reverse=True)
    assert len(many.find_elements(By.CSS_SELECTOR, "#ranking circle")) == 70
    many.find_element(By.ID, "query").send_keys("variant 6")
    assert set(accuracies(many)) == {name for name in everything if "variant" in name and "6" in name}


def test_no_name_sticks_out_of_the_ranking(many: Any) -> None:
    for width in (1200, 390):
        resize(many, width, 800)
        many.execute_script("drawRanking()")
        lefts = many.execute_script("return [...document.querySelectorAll('#ranking text')].map(e => e.getBBox().x)")
        assert len(lefts) > 20
        assert min(lefts) >= 0


def test_many_methods_sort_before_they_are_cut(many: Any) -> None:
    click(many, "#sort-accuracy")

    worst = list(accuracies(many).values())
    click(many, "#most button", "all")
    assert worst == sorted(accuracies(many).values())[:20]


def test_many_methods_are_drawn_at_once(many: Any) -> None:
    click(many, "#most button", "all")
    seconds = many.execute_script("""
        const times = [0, 1, 2].map(() => {
            const start = performance.now();
            render();
            document.body.getBoundingClientRect();
            return performance.now() - start;
        });
        return Math.min(...times) / 1000;
    """)

    assert seconds < 1.5  # a tenth of that on an idle machine


def test_gallery_lists_methods_with_maps_and_others_when_asked(many: Any) -> None:
    assert len(texts(many, "#gallery-methods [role=option]")) == len(SOME)
    click(many, "#gallery-all")
    assert len(texts(many, "#gallery-methods [role=option]")) == 70
    click(many, "#gallery-all")
    many.execute_script("showMethod('copy_05')")

    assert canvas(many)[1] == "copy_05"
    assert "No map is drawn" in many.find_element(By.ID, "caption").text
    assert len(texts(many, "#gallery-methods [role=option]")) == len(SOME) + 1


def test_gallery_by_arrow_keys(page: Any, run: Config) -> None:
    scores = pd.read_parquet(run.out / "scores.parquet").set_index(["image", "method", "protocol"])
    page.find_element(By.ID, "gallery").send_keys("")
    page.execute_script("document.getElementById('gallery').focus()")
    seen = set()
    for _ in range(POSITIVES):
        for _ in range(len(SOME)):
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


def test_a_miss_at_an_object_that_nobody_marked_is_saved(page: Any, run: Config) -> None:
    """The file that the page offers is the one that ``compare --without`` reads."""
    scores = pd.read_parquet(run.out / "scores.parquet")
    misses = scores[(scores["protocol"] == "fair") & (scores["distance"] >= 15) & (scores["method"] == "center")]
    film, x, y = misses.iloc[0][["image", "x", "y"]]
    page.execute_script("showMethod('center'); shown.film = films.findIndex((f) => f.name === arguments[0])", film)
    page.execute_script("drawGallery()")
    box, link = page.find_element(By.ID, "unannotated"), page.find_element(By.ID, "unannotated-save")
    assert not link.is_displayed()
    page.execute_script("arguments[0].click()", box)
    assert link.text == "Save unannotated.csv (1)"
    saved = page.execute_async_script(
        "fetch(arguments[0]).then((r) => r.text()).then(arguments[1])", link.get_attribute("href")
    )
    expected_x, expected_y = round((x + 0.5) / 600 * 90), round((y + 0.5) / 600 * 60)
    assert saved.splitlines() == ["image,x,y", f"{film},{expected_x},{expected_y}"]
    press(page, Keys.ARROW_RIGHT)
    page.execute_script("shown.film = films.findIndex((f) => f.name === arguments[0]); drawGallery()", film)
    assert box.is_selected()  # it is remembered
    page.execute_script("arguments[0].click()", box)
    assert not link.is_displayed()
    hit = scores[(scores["protocol"] == "fair") & (scores["distance"] == 0)].iloc[0]
    page.execute_script(
        "shown.film = films.findIndex((f) => f.name === arguments[0]); showMethod(arguments[1])",
        hit["image"],
        hit["method"],
    )
    assert not page.find_element(By.ID, "unannotated-label").is_displayed()  # a hit needs no excuse


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
@pytest.mark.parametrize("name", ["report", "many"])
def test_nothing_sticks_out_of_a_narrow_screen(page: Any, run: Config, width: int, name: str) -> None:
    resize(page, width, 800)
    page.get((run.out / f"{name}.html").as_uri())
    assert page.execute_script("return document.documentElement.scrollWidth") <= width

    for box in page.find_elements(By.CSS_SELECTOR, "#columns input:not(:checked)"):
        page.execute_script("arguments[0].click()", box)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_phone_gets_few_columns(page: Any, run: Config) -> None:
    resize(page, 390, 800)
    page.get((run.out / "report.html").as_uri())

    assert heads(page) == ["Method", "Bar", "Accuracy, %", "Real difference from the best?"]
    region = page.find_element(By.CSS_SELECTOR, "[aria-label='Table of methods']")
    assert region.get_property("scrollWidth") <= region.get_property("clientWidth")
    choose_column(page, "Energy")
    assert "Energy" in heads(page)


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
