from __future__ import annotations

import pytest
from pydantic import ValidationError

from rcn_search.evaluation.protocol import EvaluationProtocol, named_protocol, rcn2016, subpixel


def test_rcn2016_is_the_protocol_of_the_paper() -> None:
    protocol = rcn2016("aflw", "test", "five")
    assert (protocol.name, protocol.normalizer, protocol.grid_px) == ("rcn2016", "eye_centers", 80)
    assert subpixel("aflw", "test", "five").grid_px is None


def test_protocols_differ_if_any_field_differs() -> None:
    base = rcn2016("300w", "full", "ibug68")
    others = [
        rcn2016("aflw", "full", "ibug68"),
        rcn2016("300w", "common", "ibug68"),
        rcn2016("300w", "full", "ibug49"),
        named_protocol("rcn2016-49", "300w", "full", "ibug68"),
        subpixel("300w", "full", "ibug68"),
        base.model_copy(update={"box_source": "detector"}),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert base == rcn2016("300w", "full", "ibug68")


def test_subpixel_name_includes_another_normalizer() -> None:
    assert subpixel("300w", "full", "ibug68", "pupils").name == "subpixel-pupils"


def test_protocol_json_round_trip_and_unknown_fields() -> None:
    protocol = subpixel("300w", "full", "ibug68", "box")
    document = protocol.model_dump(mode="json")
    assert EvaluationProtocol.model_validate(document) == protocol
    for wrong in ({"normalizer": "No se"}, {"grid": 80}, {"grid_px": 0}, {"dataset": ""}, {"subset": "\x1b[2J"}):
        with pytest.raises(ValidationError):
            EvaluationProtocol.model_validate(document | wrong)


def test_protocol_without_threshold_gets_that_of_its_normalizer() -> None:
    """Entries of schema version 1 say nothing of it; they must stay comparable with new ones for ever."""
    for normalizer, threshold_pct in (
        *(("eye_centers", 10.0), ("outer_eye_corners", 8.0), ("pupils", 10.0)),
        *(("box", 7.0), ("diagonal", 7.0)),
    ):
        protocol = subpixel("300w", "full", "ibug68", normalizer)  # type: ignore[arg-type]
        old = protocol.model_dump(mode="json")
        assert old.pop("threshold_pct") == threshold_pct
        assert EvaluationProtocol.model_validate(old) == protocol
    assert EvaluationProtocol.model_validate(old | {"threshold_pct": 5}) != protocol
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            EvaluationProtocol.model_validate(old | {"threshold_pct": wrong})


def test_differences_names_fields_and_values() -> None:
    ours, theirs = rcn2016("300w", "full", "ibug68"), subpixel("300w", "common", "ibug68", "pupils")
    assert ours.differences(theirs) == [
        "subset: full or common",
        "normalizer: eye centers or pupils",
        "grid: 80×80 or sub-pixel",
    ]
    assert ours.differences(ours) == []
    stricter = ours.model_copy(update={"threshold_pct": 8.0})
    assert ours.differences(stricter) == ["threshold: 10.0 or 8.0"]


@pytest.mark.parametrize("name", ["rcn2016", "rcn2016-49", "subpixel", "subpixel-outer_eye_corners", "subpixel-box"])
def test_named_protocol_round_trip(name: str) -> None:
    assert named_protocol(name, "300w", "full", "ibug68").name == name


def test_named_protocol_eye_centers_is_subpixel() -> None:
    assert named_protocol("subpixel-eye_centers", "a", "b", "five") == subpixel("a", "b", "five")


def test_named_protocol_rejects_unknown_names() -> None:
    for name in ("nme", "subpixel-No se", "rcn2016-box"):
        with pytest.raises(ValueError, match=f"unknown protocol '{name}'; known are rcn2016"):
            named_protocol(name, "aflw", "test", "five")
