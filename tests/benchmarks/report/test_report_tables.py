"""The tables of the report in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsing import SOME, accuracies, choose_column, click, heads, press, texts
from many_methods import embedded
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from benchmarks.analysis.by_verdict import by_verdict
from benchmarks.analysis.hierarchical import differences, summarise_seeds
from benchmarks.report.page import page as html_page
from benchmarks.report.seeds_page import write_seeds_page
from benchmarks.run.config import Config


def expected(reported: Config, protocol: str, tolerance: int) -> list[float]:
    table = pd.read_csv(reported.out / "summary.csv")
    chosen = table[(table["protocol"] == protocol) & (table["tolerance"] == tolerance)]
    return sorted((round(100 * value, 1) for value in chosen["accuracy"]), reverse=True)


def test_fetches_nothing(page: Any, reported: Config) -> None:
    page.get_log("performance")  # of the pages before
    page.get((reported.out / "report.html").as_uri())
    press(page, Keys.END)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    assert asked[0] == (reported.out / "report.html").as_uri()
    assert [url for url in asked[1:] if not url.startswith("data:")] == []


def test_table_follows_protocol_and_tolerance(page: Any, reported: Config) -> None:
    assert list(accuracies(page).values()) == expected(reported, "fair", 15)

    click(page, "#protocol button", "paper")
    click(page, "#tolerance button", "inside")

    assert list(accuracies(page).values()) == expected(reported, "paper", 0)
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


def test_the_table_is_split_by_the_verdict_of_the_classifier(page: Any, reported: Config) -> None:
    choose_column(page, "Misses that are the classifier's, %")
    table = pd.read_csv(reported.out / "summary_verdicts.csv")
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


def test_table_sorts_by_a_measure_best_first(page: Any, reported: Config) -> None:
    choose_column(page, "Deletion (lower is better)")
    table = pd.read_csv(reported.out / "measures.csv").pivot(index="method", columns="measure", values="value")
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
    assert "Energy Grad-CAM and 1 more (0.500)" in texts(page, "#brief li")[-1]  # made-up values; no baseline counts


def test_of_equal_methods_brief_and_table_name_the_same(page: Any) -> None:
    page.execute_script(
        "const last = chosenRows().at(-1).method;"
        "for (const row of chosenRows()) Object.assign(row, { accuracy: 0.5, best: last }); render();"
    )
    best = next(iter(accuracies(page)))
    assert texts(page, "#brief li")[1].startswith(f"{best} is best")
    assert texts(page, "#table tbody tr:first-child .best")[0] == "best"


def test_breakdown_by_kind(page: Any, reported: Config) -> None:
    Select(page.find_element(By.ID, "by")).select_by_value("kind")
    table = pd.read_csv(reported.out / "breakdown.csv")
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


def test_consistency_has_its_units(page: Any, reported: Config) -> None:
    table = pd.read_csv(reported.out / "consistency.csv")
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


def test_parts_without_a_table_are_left_out(page: Any, reported: Config, tmp_path: Path) -> None:
    data = embedded((reported.out / "report.html").read_text())
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


def test_the_page_of_several_seeds_shows_what_holds_over_them(page: Any, reported: Config, tmp_path: Path) -> None:
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
    write_seeds_page(reported.replace(out=tmp_path), scores, tables, {"0": 0.05, "15": 0.1, "25": 0.12})
    page.get((tmp_path / "report.html").as_uri())

    assert list(accuracies(page).values()) == [90.0, 90.0, 4.4]
    first, second, third = texts(page, "#table tbody td:nth-child(5)")
    assert first == "best"
    assert second.startswith("none shown, 0.0 [")
    assert third.startswith("yes, -85.6 [")
    brief = texts(page, "#brief li")
    assert brief[0].startswith("The 3 classifiers have AUC 0.900 to 0.950")
    assert brief[2].startswith("Where the classifier says object (72 of 90 verdicts) it hits")
    assert "tell it apart from 1 of the other 2 methods" in brief[3]
    about_films = [
        page.find_element(By.ID, f"{of}-{part}") for of in ("unannotated", "maps") for part in ("term", "note")
    ]
    assert not any(note.is_displayed() for note in about_films)  # this page shows none
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
