from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_file import write_dicom
from PIL import Image
from tiny_run import make_run
from torch import Tensor, nn

from benchmarks import __main__ as cli
from benchmarks.explain import explainer as explainer_module
from benchmarks.explain.explain_films import explain
from benchmarks.explain.explainer import Explainer
from benchmarks.explain.verdict import Explanation
from benchmarks.films.decode import read_film
from benchmarks.methods import METHODS
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError
from normgrad_attr import __version__


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_run(tmp_path_factory.mktemp("run"))


class Bright(nn.Module):
    """Calls a film the more positive the brighter its brightest place is; the map is that place."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        brightest = self.relu(images.mean(dim=1)).amax(dim=(1, 2))
        return torch.stack([torch.zeros_like(brightest), self.scale * 20 * (brightest - 2)], dim=1)


@pytest.fixture
def bright(run: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(explainer_module, "load_classifier", lambda _: Bright().eval())
    return run.out


def explained(explainer: Explainer, path: Path) -> Explanation:
    return explainer([read_film(path)])[0]


def film_with_a_square(shape: tuple[int, int] = (300, 200)) -> np.ndarray:
    film = np.full(shape, 20, dtype=np.uint8)
    film[60:90, 120:150] = 250
    return film


def test_places_are_in_pixels_of_the_film(bright: Path, tmp_path: Path) -> None:
    Image.fromarray(film_with_a_square()).save(tmp_path / "a.png")

    result = explained(Explainer(bright, "guided_backprop"), tmp_path / "a.png")

    assert result.verdict == "foreign object"
    assert not result.unsure
    peak = result.peaks[0]
    assert 115 <= peak.x <= 155  # network pixels are 3.1 x 4.7 film pixels
    assert 55 <= peak.y <= 95
    x1, y1, x2, y2 = peak.box
    assert x1 <= peak.x < x2 <= 200
    assert y1 <= peak.y < y2 <= 300


def test_png_jpeg_and_dicom_agree(bright: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    film = film_with_a_square()
    Image.fromarray(film).save(tmp_path / "a.png")
    Image.fromarray(film).save(tmp_path / "a.jpg", quality=98)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"}
    deep = np.round((255 - film.astype(float)) / 255 * 4096).astype(np.uint16)
    write_dicom(tmp_path / "a.dcm", deep, "MONOCHROME1", **window)

    explainer = Explainer(bright, "guided_backprop")
    png, jpeg, dicom = (explained(explainer, tmp_path / name) for name in ("a.png", "a.jpg", "a.dcm"))

    np.testing.assert_allclose(png.film.grey.astype(int), dicom.film.grey, atol=1)
    assert png.probability == pytest.approx(dicom.probability, abs=0.02)
    assert png.probability == pytest.approx(jpeg.probability, abs=0.1)
    assert png.peaks[0].box == dicom.peaks[0].box


def test_clean_film_has_no_places(bright: Path, tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.uint8([20, 21]), (80, 40))).save(tmp_path / "a.png")

    result = explained(Explainer(bright, "guided_backprop"), tmp_path / "a.png")

    assert (result.verdict, result.unsure, result.peaks) == ("clean", False, ())
    assert result.sentence == "Clean: the model gives a foreign object 0 %."


def test_the_range_is_that_of_the_run(run: Config, tmp_path: Path) -> None:
    film = sorted((run.data_root / "test").glob("*.png"))[0]
    assert explained(Explainer(run.out), film).unsure_range == (0.25, 0.75)  # a run of an earlier version
    path = run.out / "classifier.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(before), "unsure": [0.0, 1.0]}))
        result = explained(Explainer(run.out), film)
        path.write_text(json.dumps({**json.loads(before), "unsure": [0.5, 0.5]}))
        sure = explained(Explainer(run.out), film)
    finally:
        path.write_text(before)

    assert result.unsure
    assert "from 0 to 100 %" in result.sentence
    assert result.peaks
    assert not sure.unsure
    assert bool(sure.peaks) == (sure.verdict == "foreign object")


def test_films_at_once_are_as_films_one_by_one(run: Config) -> None:
    films = [read_film(path) for path in sorted((run.data_root / "test").glob("*.png"))[:3]]
    explainer = Explainer(run.out)
    assert explainer.batch_size > 3

    together, alone = explainer(films), [explainer([film])[0] for film in films]

    for one, other in zip(together, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
        np.testing.assert_allclose(one.saliency, other.saliency, atol=0.02)  # roots of roundings
    assert together[0].probability != together[1].probability
    by_chance = next(name for name, method in METHODS.items() if method.random and method.family == "gradient")
    assert Explainer(run.out, by_chance).batch_size == 1


def command(*words: object) -> int:
    return cli.main(["explain", *map(str, words)])


def results(out: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in sorted(out.glob("*.json"))}


def test_command_writes_overlay_json_table_and_page(
    run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = sorted((run.data_root / "test").glob("*.png"))[:2]
    out = tmp_path / "out"

    assert command(*films, "--checkpoint", run.out, "--out", out) == 0

    assert "Research tool, not a medical device" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "00000.json", "00000.overlay.png", "00001.json", "00001.overlay.png", "explained.csv", "explained.html",
    ]  # fmt: skip
    content = json.loads((out / "00000.json").read_text())
    assert content["notice"].startswith("Research tool")
    assert (content["width"], content["height"], content["film"]) == (90, 60, "00000.png")
    assert (content["path"], content["sop_instance_uid"]) == (str(films[0]), None)
    assert content["verdict"] == ("foreign object" if content["probability"] >= 0.5 else "clean")
    checkpoint = (run.out / "checkpoints" / "best.ckpt").read_bytes()
    assert content["classifier"]["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert content["version"] == __version__
    assert "no probabilities" in content["score_means"]
    assert [peak["rank"] for peak in content["peaks"]] == list(range(1, len(content["peaks"]) + 1))
    for peak in content["peaks"]:
        assert 0 <= peak["box"][0] < peak["box"][2] <= 90
        assert 0 <= peak["box"][1] < peak["box"][3] <= 60
        assert 0 < peak["score"] <= 1
    with Image.open(out / "00000.overlay.png") as overlay:
        assert min(overlay.size) > 300


def test_the_table_holds_the_films_of_all_calls(run: Config, tmp_path: Path) -> None:
    films = sorted((run.data_root / "test").glob("*.png"))[:3]
    (tmp_path / "other.json").write_text("[1]")
    for film in films:
        assert command(film, "--checkpoint", run.out, "--out", tmp_path) == 0

    with (tmp_path / "explained.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["film"] for row in rows} == {film.name for film in films}
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    page = (tmp_path / "explained.html").read_text()
    assert all(f'href="{film.stem}.json"' in page and f'src="{film.stem}.overlay.png"' in page for film in films)


@pytest.mark.parametrize("calls", [1, 2])
def test_two_films_of_one_name_have_two_results(run: Config, tmp_path: Path, calls: int) -> None:
    films = []
    for patient, source in zip("ab", sorted((run.data_root / "test").glob("*.png")), strict=False):
        (tmp_path / patient).mkdir()
        films.append(tmp_path / patient / "IM0001.png")
        films[-1].write_bytes(source.read_bytes())
    out = tmp_path / "out"
    for _ in range(2):  # once more changes nothing
        for some in [films] if calls == 1 else [[film] for film in films]:
            assert command(*some, "--checkpoint", run.out, "--out", out) == 0

    assert {content["path"] for content in results(out).values()} == {str(film) for film in films}
    assert len(results(out)) == 2
    assert "IM0001.json" in results(out)
    assert len(list(out.glob("*.overlay.png"))) == 2


def test_two_patients_at_one_path_have_two_results(run: Config, tmp_path: Path) -> None:
    """As on discs, whose files are all called alike."""
    generator = np.random.default_rng(0)
    for uid in ("1.2.3", "1.2.4"):
        write_dicom(tmp_path / "IM0001", generator.integers(0, 255, (64, 64), np.uint8), SOPInstanceUID=uid)
        assert command(tmp_path / "IM0001", "--checkpoint", run.out, "--out", tmp_path / "out") == 0

    assert {content["sop_instance_uid"] for content in results(tmp_path / "out").values()} == {"1.2.3", "1.2.4"}


def test_results_beside_the_films_replace_nothing(run: Config, tmp_path: Path) -> None:
    film = tmp_path / "a.png"
    film.write_bytes(sorted((run.data_root / "test").glob("*.png"))[0].read_bytes())
    (tmp_path / "b.png").write_bytes(film.read_bytes())
    (tmp_path / "a.json").write_text("the user's")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not to be followed")
    (tmp_path / "b.json").symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert command(film, tmp_path / "b.png", "--checkpoint", run.out, "--out", tmp_path) == 0

    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (tmp_path / "b.json").is_symlink()
    new = {path.name for path in tmp_path.iterdir()} - set(before)
    assert len([name for name in new if name.endswith(".json")]) == 2


def test_overlays_are_no_films(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "a.png"
    film.write_bytes(sorted((run.data_root / "test").glob("*.png"))[0].read_bytes())
    assert command(film, "--checkpoint", run.out, "--out", tmp_path) == 0

    assert command(*tmp_path.glob("*.png"), "--checkpoint", run.out, "--out", tmp_path) == 2

    assert "a.overlay.png is an overlay that explain has drawn" in capsys.readouterr().err
    assert list(results(tmp_path)) == ["a.json"]


def test_tables_of_others_stay(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = sorted((run.data_root / "test").glob("*.png"))[0]
    (tmp_path / "explained.csv").write_text("film,my,own\n")

    assert command(film, "--checkpoint", run.out, "--out", tmp_path) == 2

    assert "explained.csv was not written by explain" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["explained.csv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_no_film_keeps_the_others_from_theirs(
    run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sorted((run.data_root / "test").glob("*.png"))[0].read_bytes()
    bad = [tmp_path / name for name in ("cut.png", "text.dcm", "pipe.png", "absent.png", "folder", "small.png")]
    bad[0].write_bytes(source[:100])
    bad[1].write_text("text")
    os.mkfifo(bad[2])
    bad[4].mkdir()
    Image.fromarray(np.eye(8, dtype=np.uint8)).resize((8, 400)).save(bad[5])
    odd = [
        tmp_path / os.fsdecode(b"r\xe9.png"), tmp_path / ("n" * 245 + ".png"), tmp_path / ("\u80ba" * 80 + ".png"),
        tmp_path / "a\x1b[2J\r.png", tmp_path / "=1+1.png", tmp_path / "<b>.png", tmp_path / "good.png",
    ]  # fmt: skip
    for path in odd:
        path.write_bytes(source)
    out = tmp_path / "out"

    assert command(*bad, *odd, "--checkpoint", run.out, "--out", out) == 2

    said = capsys.readouterr()
    for path, reason in zip(
        bad,
        ("is truncated or damaged", "is neither DICOM nor PNG", "is no regular file", "is missing", "is a folder",
         "has 8 x 400 pixels: that is too small"),
        strict=True,
    ):  # fmt: skip
        assert f"error: The film {path} {reason}" in said.err
    assert said.err.splitlines()[-1] == "error: 6 of 13 films were not explained; each is named above."
    assert "\x1b" not in said.out + said.err
    assert len(results(out)) == len(odd)
    assert "good.json" in results(out)
    with (out / "explained.csv").open(newline="", encoding="utf-8") as stream:
        names = {row["film"] for row in csv.DictReader(stream)}
    assert {"'=1+1.png", r"a\x1b[2J\r.png", r"r\udce9.png"} <= names
    assert "<b>.png" not in (out / "explained.html").read_text(encoding="utf-8")


def test_a_film_that_breaks_the_method_is_named(
    run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Explainer.__call__

    def broken(self: Explainer, films: list) -> list[Explanation]:
        if any(film.size == (70, 70) for film in films):
            raise RuntimeError("out of luck")
        return whole(self, films)

    monkeypatch.setattr(Explainer, "__call__", broken)
    films = sorted((run.data_root / "test").glob("*.png"))[:2]
    bad = tmp_path / "bad.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 70), np.uint8)).save(bad)

    assert command(films[0], bad, films[1], "--checkpoint", run.out, "--out", tmp_path / "out") == 2

    assert f"error: The film {bad} could not be explained (RuntimeError: out of luck)." in capsys.readouterr().err
    assert list(results(tmp_path / "out")) == ["00000.json", "00001.json"]


def test_reports_of_films_that_are_dicom(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("highdicom")
    film = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    uids = {"SOPInstanceUID": "1.2.3", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SeriesInstanceUID": "1.2.4"}
    write_dicom(tmp_path / "a.dcm", film, StudyInstanceUID="1.2.5", **uids)
    write_dicom(tmp_path / "no_study.dcm", film[::-1].copy(), **uids)
    Image.fromarray(film.T.copy()).save(tmp_path / "b.png")
    films = [tmp_path / name for name in ("a.dcm", "no_study.dcm", "b.png")]

    for _ in range(2):
        assert command(*films, "--checkpoint", run.out, "--out", tmp_path / "out", "--dicom") == 2

    assert "no_study.dcm has no StudyInstanceUID" in capsys.readouterr().err
    assert list(results(tmp_path / "out")) == ["a.json", "b.json", "no_study.json"]
    assert [path.name for path in (tmp_path / "out").glob("*.dcm")] == ["a.report.dcm"]


def test_a_console_of_another_encoding(run: Config, tmp_path: Path) -> None:
    film = tmp_path / "\u80ba\xe9.png"
    film.write_bytes(sorted((run.data_root / "test").glob("*.png"))[0].read_bytes())
    words = [sys.executable, "-m", "benchmarks", "explain", film, "--checkpoint", run.out, "--out", tmp_path / "out"]

    done = subprocess.run(
        words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, timeout=100
    )

    assert done.returncode == 0, done.stderr
    assert b"\\u80ba\\xe9.png" in done.stdout


def test_explaining_loads_no_package_that_it_does_not_need() -> None:
    """Lightning and pytorch-grad-cam take longer to load than the films to be explained."""
    code = "import sys, benchmarks.explain.explain_films; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "benchmarks.methods.normgrad"} <= set(loaded)
    assert not {"lightning", "pytorch_grad_cam", "sklearn", "pandas"} & set(loaded)


def test_user_errors(run: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method 'grad_camp' that explains"):
        Explainer(run.out, "grad_camp")
    with pytest.raises(UserError, match="no method 'center' that explains"):
        Explainer(run.out, "center")
    with pytest.raises(UserError, match="holds no run"):
        Explainer(tmp_path)
    with pytest.raises(UserError, match="--threads is 0"):
        explain([], run.out, tmp_path, threads=0)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out: .*file cannot be made"):
        explain([], run.out, tmp_path / "file")
