"""The films of the report in a browser, with their maps."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from browsing import SOME, accuracies, click, press, texts
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tiny_run import POSITIVES

from benchmarks.run.config import Config


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


def test_gallery_lists_methods_with_maps_and_others_when_asked(many: Any) -> None:
    assert len(texts(many, "#gallery-methods [role=option]")) == len(SOME)
    click(many, "#gallery-all")
    assert len(texts(many, "#gallery-methods [role=option]")) == 70
    click(many, "#gallery-all")
    many.execute_script("showMethod('copy_05')")

    assert canvas(many)[1] == "copy_05"
    assert "No map is drawn" in many.find_element(By.ID, "caption").text
    assert len(texts(many, "#gallery-methods [role=option]")) == len(SOME) + 1


def test_gallery_by_arrow_keys(page: Any, reported: Config) -> None:
    scores = pd.read_parquet(reported.out / "scores.parquet").set_index(["image", "method", "protocol"])
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


def test_a_miss_at_an_object_that_nobody_marked_is_saved(page: Any, reported: Config) -> None:
    """The file that the page offers is the one that ``compare --without`` reads."""
    scores = pd.read_parquet(reported.out / "scores.parquet")
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
