"""The result of a DICOM film as a DICOM structured report, whose boxes viewers draw on the film (TID 1500, PS3.16)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.explain.verdict import NOTICE, Explanation
from benchmarks.run.errors import UserError
from normgrad_attr import __version__
from normgrad_attr.functional import Peak

_SCHEME = "99NORMGRAD"
_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def require_highdicom() -> Any:
    """The package that knows structured reports.

    Raises:
        UserError: It is not installed.
    """
    try:
        import highdicom
    except ImportError:
        raise UserError("--dicom needs highdicom: run `pip install highdicom`.") from None
    return highdicom


def structured_report(result: Explanation, film: Path, method: str) -> Any:
    """Make the report of a film; it is no final one and verified by nobody.

    Args:
        result: Of the film.
        film: The DICOM file, whose patient and study the report is filed under.
        method: Whose map it is.

    Returns:
        A ``highdicom.sr.ComprehensiveSR``, to be saved by ``save_as``.

    Raises:
        UserError: highdicom is not installed, or the film has no identifiers to refer to.
    """
    hd = require_highdicom()
    import pydicom
    from pydicom.sr.codedict import codes

    # Films and highdicom disagree on values that are no concern of the report.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(film, stop_before_pixels=True, force=True)
        missing = [
            n for n in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID") if n not in source
        ]
        if missing:
            raise UserError(f"The film {film} has no {missing[0]}, to which a DICOM report could refer.")
        for name in _TYPE_2:
            if name not in source:
                setattr(source, name, "")
        device = hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name="explain", manufacturer_name="normgrad_attr", model_name=__version__
        )
        observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
        whole = hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"{result.verdict}. {NOTICE}"),
            source_images=[hd.sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
            measurements=[_measurement(hd, codes, "Probability of a foreign object", result.probability)],
        )
        places = [_place(hd, codes, rank, peak, source, method) for rank, peak in enumerate(result.peaks, start=1)]
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=hd.sr.CodedConcept("chest-radiography", _SCHEME, "Radiography of the chest"),
            imaging_measurements=[whole, *places],
        )
        return hd.sr.ComprehensiveSR(
            evidence=[source],
            content=content[0],
            series_instance_uid=hd.UID(),
            series_number=9999,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="normgrad_attr",
            is_complete=True,
            is_final=False,
        )


def _place(hd: Any, codes: Any, rank: int, peak: Peak, source: Any, method: str) -> Any:
    x1, y1, x2, y2 = peak.box
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], dtype=float)
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"place {rank} ({method})"),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=corners,
            source_image=hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
        ),
        finding_type=hd.sr.CodedConcept("19227008", "SCT", "Foreign body"),
        measurements=[_measurement(hd, codes, "Height of the method's map, 1 at its highest point", peak.score)],
    )


def _measurement(hd: Any, codes: Any, meaning: str, value: float) -> Any:
    name = hd.sr.CodedConcept(meaning.split()[0].lower(), _SCHEME, meaning)
    return hd.sr.Measurement(name=name, value=float(round(value, 6)), unit=codes.UCUM.NoUnits)
