from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_file import write_dicom

from benchmarks.explain.result_files import Results
from benchmarks.explain.structured_report import structured_report
from benchmarks.explain.verdict import Explanation
from benchmarks.films.decode import read_film
from benchmarks.run.errors import UserError
from normgrad_attr.functional import Peak

IDENTIFIERS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SOPInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4",
    "StudyInstanceUID": "1.2.5", "PatientID": "7", "PatientName": "A^B",
}  # fmt: skip
BOXES = ((1, 2, 30, 40), (41, 2, 60, 40))


def explained(path: Path, **tags: str) -> Explanation:
    film = np.random.default_rng(0).integers(0, 4095, (64, 80)).astype(np.uint16)
    write_dicom(path, film, BitsStored=12, **tags)
    peaks = tuple(Peak(box[0], box[1], score, box) for box, score in zip(BOXES, (1.0, 0.5), strict=True))
    return Explanation(read_film(path), 0.9, np.zeros((4, 4), np.float32), peaks)


def test_the_report_holds_boxes_and_probability_under_the_study(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    result = explained(tmp_path / "a.dcm", **IDENTIFIERS)

    structured_report(result, tmp_path / "a.dcm", "some").save_as(tmp_path / "report.dcm")

    report = highdicom.sr.srread(tmp_path / "report.dcm")
    assert (report.Modality, report.PatientID, report.StudyInstanceUID) == ("SR", "7", "1.2.5")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    for place, box in zip(report.content.get_planar_roi_measurement_groups(), BOXES, strict=True):
        low, high = place.roi.value.min(axis=0), place.roi.value.max(axis=0)
        assert (*low, *high) == box
        assert place.roi.value[0].tolist() == place.roi.value[-1].tolist()
    (whole,) = report.content.get_image_measurement_groups()
    assert [measurement.value for measurement in whole.get_measurements()] == [0.9]


def test_a_film_without_a_study_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    result = explained(tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"a\.dcm has no StudyInstanceUID"):
        structured_report(result, tmp_path / "a.dcm", "some")


def test_without_the_package_its_name_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match="--dicom needs highdicom: run `pip install highdicom`"):
        Results(tmp_path / "out", dicom=True)
