"""The report in a browser by keyboard, on a phone, by ear and in the dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import choose_column, heads, press, resize
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from benchmarks.run.config import Config


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
def test_nothing_sticks_out_of_a_narrow_screen(page: Any, reported: Config, width: int, name: str) -> None:
    resize(page, width, 800)
    page.get((reported.out / f"{name}.html").as_uri())
    assert page.execute_script("return document.documentElement.scrollWidth") <= width

    for box in page.find_elements(By.CSS_SELECTOR, "#columns input:not(:checked)"):
        page.execute_script("arguments[0].click()", box)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_phone_gets_few_columns(page: Any, reported: Config) -> None:
    resize(page, 390, 800)
    page.get((reported.out / "report.html").as_uri())

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


def test_no_name_sticks_out_of_the_ranking(many: Any) -> None:
    for width in (1200, 390):
        resize(many, width, 800)
        many.execute_script("drawRanking()")
        lefts = many.execute_script("return [...document.querySelectorAll('#ranking text')].map(e => e.getBBox().x)")
        assert len(lefts) > 20
        assert min(lefts) >= 0
