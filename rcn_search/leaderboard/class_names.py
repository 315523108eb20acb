"""Readable names for the classes of attributes. Entries store numbers, as in ``pose 1``.

MTFL's readme (v1.0, 2014.10.28) counts classes from 1, an entry from 0. Its left and right are those of the picture: on
the 2,995 test faces, the median horizontal offset of the nose from the middle between the eyes, divided by the distance
between the eyes, is -0.43, -0.23, 0.00, 0.27 and 0.43 for the five poses. The drawn faces use the same codes.
"""

from __future__ import annotations

_MTFL = {
    "gender": ("male", "female"),
    "smile": ("smiling", "not smiling"),
    "glasses": ("worn", "not worn"),
    "pose": ("left profile", "left", "frontal", "right", "right profile"),
}
_COFW: dict[str, tuple[str, ...]] = {"occlusion": ("no point hidden", "up to a quarter", "up to half", "over half")}
_CODES: dict[str, dict[str, tuple[str, ...]]] = {
    "aflw": _MTFL,
    "mtfl": _MTFL,
    "synthetic": _MTFL | {"skin": ("dark", "medium", "light")},
    "cofw": _COFW,
    "cofw68": _COFW,
}


def class_name(dataset: str, part: str) -> str:
    """Name a class if the codes of the data set are known; else return ``part`` unchanged.

    >>> class_name("aflw", "pose 1")
    'pose: left'
    """
    attribute, _, number = part.rpartition(" ")
    names = _CODES.get(dataset, {}).get(attribute, ())
    return f"{attribute}: {names[int(number)]}" if number.isdecimal() and int(number) < len(names) else part
