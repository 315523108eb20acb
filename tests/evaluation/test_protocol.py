from __future__ import annotations

import pytest
from pydantic import ValidationError

from rcn_search.evaluation.protocol import Protocol, named_protocol, rcn2016, subpixel


def test_the_papers_protocol() -> None:
    protocol = rcn2016("aflw", "test", "five")
    assert (protocol.name, protocol.normaliser, protocol.grid_px) == ("rcn2016", "eye_centres", 80)
    assert subpixel("aflw", "test", "five").grid_px is None


def test_protocols_that_differ_in_anything_differ() -> None:
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


def test_another_normaliser_is_another_name() -> None:
    assert subpixel("300w", "full", "ibug68", "pupils").name == "subpixel-pupils"


def test_it_survives_json_and_refuses_what_it_does_not_know() -> None:
    protocol = subpixel("300w", "full", "ibug68", "box")
    document = protocol.model_dump(mode="json")
    assert Protocol.model_validate(document) == protocol
    for wrong in ({"normaliser": "nose"}, {"grid": 80}, {"grid_px": 0}, {"dataset": ""}, {"subset": "\x1b[2J"}):
        with pytest.raises(ValidationError):
            Protocol.model_validate(document | wrong)


@pytest.mark.parametrize("name", ["rcn2016", "rcn2016-49", "subpixel"])
def test_a_protocol_is_found_by_its_name(name: str) -> None:
    assert named_protocol(name, "300w", "full", "ibug68").name == name


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown protocol 'nme'; known: rcn2016"):
        named_protocol("nme", "aflw", "test", "five")
