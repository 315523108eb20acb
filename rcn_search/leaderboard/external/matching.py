"""Match the names in a file of predictions with the images of a split: by path, else by file name where it is unique.

Programs write image names with other folders, other suffixes, or blanks removed: SPIGA's published results call
``helen/testset/3151235633_1`` of 300-W ``images/test/3151235633_1.jpg``, and ``ibug/image_092 _01`` is known as
``image_092_01``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

_SUFFIX = re.compile(r"\.(?:jpe?g|png|bmp|gif|tiff?|webp|jp2|p[bgnp]m|pts)$", re.IGNORECASE)

Parts = tuple[str, ...]
"""Folders and file name."""


def match_images(names: Iterable[str], image_ids: Sequence[str]) -> dict[int, str]:
    """Map each row of a split to the name of its prediction; rows and names that do not pair one to one are left out.

    A name belongs to the image of that name. Else it belongs to the image whose path ends with its path, or the other
    way round, compared by whole folder names; as written, then without the suffix of an image file, then without
    blanks, too. If no image is found by a path with a folder, the folders are of another layout, and names without
    folders are compared in the same way.
    """
    names = list(names)
    row_of_image = {image: row for row, image in enumerate(image_ids)}
    matched = {row_of_image[name]: name for name in names if name in row_of_image}
    found_by_folder = any("/" in name for name in matched.values())
    for spelling in (_as_written, _without_suffix, _without_blanks):
        rows, named = _spell(spelling, image_ids), _spell(spelling, names)
        pairs = _pairs_by_path(rows, named, matched)
        found_by_folder |= any(min(len(rows[row]), len(named[name])) > 1 for row, name in pairs)
        matched |= {row: names[name] for row, name in pairs}
    if not found_by_folder:
        for spelling in (_without_suffix, _without_blanks):
            rows, named = ([parts[-1:] for parts in _spell(spelling, texts)] for texts in (image_ids, names))
            matched |= {row: names[name] for row, name in _pairs_by_path(rows, named, matched)}
    return matched


def _spell(spelling: Callable[[str], str], texts: Sequence[str]) -> list[Parts]:
    """Split names at slashes and backslashes; ``spelling`` is applied to each part."""
    spelled = []
    for text in texts:
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")] or [""]
        spelled.append(tuple(map(spelling, parts)))
    return spelled


def _as_written(part: str) -> str:
    return part


def _without_suffix(part: str) -> str:
    return _SUFFIX.sub("", part)


def _without_blanks(part: str) -> str:
    """Without suffix and blanks, and with composed characters: file systems store ü in two ways."""
    return unicodedata.normalize("NFC", "".join(_SUFFIX.sub("", part).split()))


def _pairs_by_path(rows: Sequence[Parts], named: Sequence[Parts], matched: dict[int, str]) -> list[tuple[int, int]]:
    """Pair rows and names of which one's path ends with the other's, where neither fits another one.

    Rows that are ``matched`` make a name ambiguous like all others, but are not paired again.
    """
    by_path: dict[Parts, list[int]] = defaultdict(list)
    by_ending: dict[Parts, list[int]] = defaultdict(list)
    for row, parts in enumerate(rows):
        by_path[parts].append(row)
        for start in range(1, len(parts)):
            by_ending[parts[start:]].append(row)
    lengths = sorted({len(parts) for parts in rows}, reverse=True)
    candidates = []
    for name, parts in enumerate(named):
        endings = (by_path.get(parts[-length:], []) for length in lengths if length <= len(parts))
        fitting = next((found for found in endings if found), [])  # the longest path, if one ends with another
        if not fitting or len(rows[fitting[0]]) < len(parts):
            fitting = [*fitting, *by_ending.get(parts, [])]
        if len(fitting) == 1:
            candidates.append((fitting[0], name))
    times = Counter(row for row, _ in candidates)
    return [(row, name) for row, name in candidates if times[row] == 1 and row not in matched]
