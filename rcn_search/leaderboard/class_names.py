"""What the classes of attributes are called. Entries hold numbers, as ``pose 1``, and keep them; names are for readers.

MTFL's readme (v1.0, 2014.10.28) counts classes from 1, an entry from 0. Its left and right are those of the picture: on
the 2,995 test faces the nose lies -0.43, -0.23, 0.00, 0.27 and 0.43 distances between the eyes to the right of their
middle (medians of the five poses). The drawn faces have the same codes.
"""

from __future__ import annotations

_MTFL = {
    "gender": ("male", "female"),
    "smile": ("smiling", "not smiling"),
    "glasses": ("worn", "not worn"),
    "pose": ("left profile", "left", "frontal", "right", "right profile"),
}
_CODES = {"aflw": _MTFL, "mtfl": _MTFL, "synthetic": _MTFL}


def class_name(dataset: str, part: str) -> str:
    """``pose: left`` for ``pose 1`` of a data set whose codes are known; of any other the part as it is."""
    attribute, _, number = part.rpartition(" ")
    names = _CODES.get(dataset, {}).get(attribute, ())
    return f"{attribute}: {names[int(number)]}" if number.isdecimal() and int(number) < len(names) else part
