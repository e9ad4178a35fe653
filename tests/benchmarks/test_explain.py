from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_file import write_dicom
from PIL import Image
from tiny_run import make_run
from torch import Tensor, nn

from benchmarks import __main__ as cli
from benchmarks import explain as explain_module
from benchmarks.explain import Explainer, Explanation, explain
from benchmarks.metrics.peaks import Peak
from benchmarks.run.config import Config
from benchmarks.run.errors import UserError


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
    monkeypatch.setattr(explain_module, "load_classifier", lambda _: Bright().eval())
    return run.out


def film_with_a_square(shape: tuple[int, int] = (300, 200)) -> np.ndarray:
    film = np.full(shape, 20, dtype=np.uint8)
    film[60:90, 120:150] = 250
    return film


def test_places_are_in_pixels_of_the_film(bright: Path, tmp_path: Path) -> None:
    Image.fromarray(film_with_a_square()).save(tmp_path / "a.png")

    result = Explainer(bright, "guided_backprop")(tmp_path / "a.png")

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
    png, jpeg, dicom = (explainer(tmp_path / name) for name in ("a.png", "a.jpg", "a.dcm"))

    np.testing.assert_allclose(png.film.astype(int), dicom.film, atol=1)
    assert png.probability == pytest.approx(dicom.probability, abs=0.02)
    assert png.probability == pytest.approx(jpeg.probability, abs=0.1)
    assert png.peaks[0].box == dicom.peaks[0].box


def test_clean_film_has_no_places(bright: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((80, 80), 20, dtype=np.uint8)).save(tmp_path / "a.png")

    result = Explainer(bright, "guided_backprop")(tmp_path / "a.png")

    assert (result.verdict, result.unsure, result.peaks) == ("clean", False, ())
    assert result.sentence == "Clean: the model gives a foreign object 0 %."


@pytest.mark.parametrize(
    ("probability", "start"),
    [
        (0.97, "Foreign object: the model gives it 97 % and points at one place."),
        (0.6, "Unsure, leaning to foreign object: the model gives a foreign object 60 %, and from 25 to 75 %"),
        (0.4, "Unsure, leaning to clean: the model gives a foreign object 40 %, and from 25 to 75 %"),
        (0.1, "Clean: the model gives a foreign object 10 %."),
    ],
)
def test_sentence(probability: float, start: str) -> None:
    peaks = (Peak(1, 1, 1.0, (0, 0, 2, 2)),) if probability > 0.25 else ()
    result = Explanation(np.zeros((4, 4), np.uint8), probability, np.zeros((4, 4), np.float32), peaks)

    assert result.sentence.startswith(start)
    assert result.sentence.count(".") == 1  # one sentence
    assert result.unsure == ("yourself" in result.sentence)


def test_the_range_is_that_of_the_run(run: Config, tmp_path: Path) -> None:
    film = sorted((run.data_root / "test").glob("*.png"))[0]
    assert Explainer(run.out)(film).unsure_range == (0.25, 0.75)  # a run of an earlier version
    path = run.out / "classifier.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(before), "unsure": [0.0, 1.0]}))
        result = Explainer(run.out)(film)
        path.write_text(json.dumps({**json.loads(before), "unsure": [0.5, 0.5]}))
        sure = Explainer(run.out)(film)
    finally:
        path.write_text(before)

    assert result.unsure
    assert "from 0 to 100 %" in result.sentence
    assert result.peaks
    assert not sure.unsure
    assert bool(sure.peaks) == (sure.verdict == "foreign object")


def test_command_writes_overlay_and_json(run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = sorted((run.data_root / "test").glob("*.png"))[:2]
    copy = tmp_path / "b" / films[0].name
    copy.parent.mkdir()
    copy.write_bytes(films[0].read_bytes())
    out = tmp_path / "out"

    code = cli.main(["explain", *map(str, [*films, copy]), "--checkpoint", str(run.out), "--out", str(out)])

    assert code == 0
    assert "Research tool, not a medical device" in capsys.readouterr().out
    assert sorted(path.name for path in out.glob("*.json")) == ["00000-2.json", "00000.json", "00001.json"]
    content = json.loads((out / "00000.json").read_text())
    assert content["notice"].startswith("Research tool")
    assert (content["width"], content["height"], content["film"]) == (90, 60, "00000.png")
    assert content["verdict"] == ("foreign object" if content["probability"] >= 0.5 else "clean")
    for peak in content["peaks"]:
        assert 0 <= peak["box"][0] < peak["box"][2] <= 90
        assert 0 <= peak["box"][1] < peak["box"][3] <= 60
        assert 0 < peak["score"] <= 1
    with Image.open(out / "00000.png") as overlay:
        assert min(overlay.size) > 300


def test_a_bad_film_does_not_keep_the_others(run: Config, tmp_path: Path) -> None:
    film = sorted((run.data_root / "test").glob("*.png"))[0]
    (tmp_path / "bad.png").write_bytes(film.read_bytes()[:100])
    (tmp_path / "bad.dcm").write_text("text")

    with pytest.raises(UserError, match=r"bad\.png cannot be decoded .* \(2 of 3 films could not be read"):
        explain([tmp_path / "bad.png", tmp_path / "bad.dcm", film], run.out, tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["00000.json"]


def test_user_errors(run: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method 'grad_camp' that explains"):
        Explainer(run.out, "grad_camp")
    with pytest.raises(UserError, match="no method 'center' that explains"):
        Explainer(run.out, "center")
    with pytest.raises(UserError, match="holds no run"):
        Explainer(tmp_path)
    Image.new("L", (8, 400)).save(tmp_path / "thin.png")
    with pytest.raises(UserError, match="8 x 400 pixels: that is too small"):
        Explainer(run.out)(tmp_path / "thin.png")
