"""The importer of photographs and points of one's own.

Everything that can be known without opening an image is checked before anything is written; images are opened, turned
and cropped in threads.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError
from rcn_search.data.importers.points.annotations import Annotation, Content
from rcn_search.data.importers.points.duplicates import repeated_faces
from rcn_search.data.importers.points.framing import crop_face
from rcn_search.data.importers.points.images import ImageFinder, open_turned, require_size
from rcn_search.data.importers.points.layouts import LAYOUTS, read_annotations
from rcn_search.data.importers.points.splits import TRAIN, VAL, Member, assign_splits, canonical_split, split_of_files
from rcn_search.data.sample import Sample
from rcn_search.data.shards import MAX_CROP_PX, MIN_CROP_PX, DatasetError
from rcn_search.keypoint_schemas.document import schema_document
from rcn_search.keypoints import SCHEMAS, KeypointSchema


@dataclass(frozen=True, kw_only=True)
class PointsOptions:
    """Options of an import of one's own points.

    Attributes:
        layout: How the annotations are written, a key of `LAYOUTS`.
        images: Folder of the images; None: that of the annotations.
        val: Share of the groups for validation; None: as the annotations say, else a tenth.
        test: Share of the groups for testing; None: as the annotations say, and a tenth if they say nothing.
        exif: Whether images are turned by their EXIF orientation; None: as tools of the layout do.
        boxes: ``file``: boxes of the annotations frame the faces that have one; ``points``: the points frame all.
        pixel_offset: Added to each coordinate; None: what the layout needs.
        crop_px: Side of the stored crops.
        name: Name of the data set; None: that of the schema.
    """

    layout: str
    images: Path | None = None
    val: float | None = None
    test: float | None = None
    exif: bool | None = None
    boxes: Literal["file", "points"] = "file"
    pixel_offset: float | None = None
    crop_px: int = 160
    name: str | None = None
    license: str = "not stated"


class _Face:
    """A face that may be imported."""

    def __init__(self, annotation: Annotation, image: str, image_id: str, split: str) -> None:
        self.annotation, self.image, self.image_id, self.split = annotation, image, image_id, split
        self.problem = annotation.problem


class PointsImporter(Importer):
    """Importer of annotated images that a keypoint schema describes."""

    attributes = ()
    bordered = True
    citation = "not stated"

    def __init__(self, source: Path, schema: KeypointSchema, options: PointsOptions, *, color: bool = False) -> None:
        """Choose source, schema and options.

        Raises:
            DatasetError: The options contradict each other, or the schema has the name of another, built-in one.
        """
        if SCHEMAS.get(schema.name, schema) != schema:
            raise DatasetError(
                f"{schema.name!r} is the name of a built-in keypoint schema, which has other points; rename yours"
            )
        if not MIN_CROP_PX <= options.crop_px <= MAX_CROP_PX:
            raise DatasetError(f"crops have {MIN_CROP_PX} to {MAX_CROP_PX} pixels, not {options.crop_px}")
        self.folder, self.schema, self.options, self.color = source, schema, options, color
        self.keypoints, self.keypoint_schema, self.crop_px = schema.name, schema, options.crop_px
        self.name, self.license = options.name or schema.name, options.license
        self._images = options.images or (source if source.is_dir() else source.parent)
        if not self._images.is_dir():
            raise DatasetError(f"{self._images} is no folder of images")
        self._faces: dict[Row, _Face] = {}
        self._notes: list[str] = []
        self._num_oriented: set[str] = set()

    @property
    def exif(self) -> bool:
        """Whether images are turned by their EXIF orientation."""
        return LAYOUTS[self.options.layout].exif if self.options.exif is None else self.options.exif

    @property
    def offset_px(self) -> float:
        """What is added to each coordinate, so that pixel i covers [i, i + 1)."""
        chosen = self.options.pixel_offset
        return LAYOUTS[self.options.layout].offset_px if chosen is None else chosen

    @property
    def source(self) -> str:  # type: ignore[override]
        """Where the faces come from, and what is done to them."""
        box = self.schema.box
        framed = f"by the points ({box.rule}, input x {box.input_ratio:g}, crop x {box.crop_ratio:g})"
        framed = framed if self.options.boxes == "points" else f"by the boxes of the annotations, else {framed}"
        return (
            f"own annotations, layout {self.options.layout}; framed {framed}; EXIF orientation "
            f"{'applied' if self.exif else 'ignored'}; {self.offset_px:+g} px"
        )

    def read_rows(self) -> dict[str, list[Row]]:
        """Read all annotations, and check them before any image is opened.

        Raises:
            DatasetError: There are none, they are not of that layout and schema, an image is in two splits, or no
                face of a split can be imported.
        """
        folder, files, content = read_annotations(self.folder, self.options.layout, self.schema)
        if not content.annotations:
            raise DatasetError(f"{self.folder}: no annotated face in {len(files):,} files")
        faces = self._find_images(_with_unique_rows(content), folder)
        self._assign_splits(faces, files, content)
        self._refuse_repeated(faces)
        faces.sort(key=lambda face: (face.image, face.annotation.row.file, face.annotation.row.line))
        rows: dict[str, list[Row]] = {TRAIN: [], VAL: []}
        for face in faces:
            rows.setdefault(face.split, []).append(face.annotation.row)
        self._faces = {face.annotation.row: face for face in faces}
        for split in [split for split, members in rows.items() if not members]:
            del rows[split]
        for split, members in rows.items():
            if all(self._faces[row].problem for row in members):
                first = members[0]
                raise DatasetError(
                    f"no face of the split {split!r} can be imported; the first of {len(members):,}: {first.label}: "
                    f"{self._faces[first].problem}"
                )
        return rows

    def _find_images(self, content: Content, folder: Path) -> list[_Face]:
        layout = LAYOUTS[self.options.layout]
        annotations = content.annotations
        beside = self._images == folder  # images lie beside the annotations, which name them from their own folder
        keys = [(each.folder if beside else "", each.image) for each in annotations]
        finder = ImageFinder(self._images, without_suffix=self.options.layout == "pts")
        found = finder.find_all(key for key, each in zip(keys, annotations, strict=True) if not each.problem)
        faces, by_name = [], 0
        count: Counter[str] = Counter()
        for key, each in zip(keys, annotations, strict=True):
            outcome = found.get(key, each.image)
            path = outcome if isinstance(outcome, str) else each.image
            count[path] += 1
            image_id = path if count[path] == 1 else f"{path}#{count[path]}"
            face = _Face(each, path, image_id, "")
            if isinstance(outcome, RowError):
                face.problem = str(outcome)
            by_name += key in finder.found_by_name
            faces.append(face)
        self._notes += content.notes
        if by_name:
            self._notes.append(f"{by_name:,} faces: their image was found by its name alone, not by its path")
        if layout.file_each and not beside:
            self._notes.append("images are searched below the folder given, not beside the annotations")
        return faces

    def _assign_splits(self, faces: Sequence[_Face], files: Sequence[str], content: Content) -> None:
        layout, options = LAYOUTS[self.options.layout], self.options
        has_column = any(each.split for each in content.annotations)
        of_file = {} if has_column else split_of_files(files, by_folder=layout.file_each)
        members, usable = [], []
        for face in faces:
            annotation = face.annotation
            split = None
            if has_column:
                split = canonical_split(annotation.split) if annotation.split else None
                if split is None:
                    face.problem = face.problem or f"{annotation.split!r} is no name of a split"
            elif of_file:
                split = of_file[annotation.row.file.partition(", ")[0]]
            face.split = split or TRAIN
            if face.problem is None:
                usable.append(face)
                group = annotation.group or face.image
                members.append(Member(label=annotation.row.label, image=face.image, group=group, split=split))
        if not usable:
            raise DatasetError(
                f"none of the {len(faces):,} faces can be imported; the first: {faces[0].annotation.row.label}: "
                f"{faces[0].problem}"
            )
        splits, notes = assign_splits(members, val=options.val, test=options.test)
        self._notes += notes
        for face, split in zip(usable, splits, strict=True):
            face.split = split
        of_image = {face.image: face.split for face in usable}
        for face in faces:
            face.split = of_image.get(face.image, face.split)

    def _refuse_repeated(self, faces: Sequence[_Face]) -> None:
        by_image: dict[str, list[_Face]] = defaultdict(list)
        for face in faces:
            if face.problem is None:
                by_image[face.image].append(face)
        for members in by_image.values():
            for later, earlier in repeated_faces([face.annotation.points_k2 for face in members]):
                first = members[earlier].annotation.row.label
                members[later].problem = f"the same face as {first}: their points differ by less than 5 % of its size"

    @property
    def test_splits(self) -> MappingProxyType[str, str]:  # type: ignore[override]
        """All splits but those for training and validation."""
        splits = dict.fromkeys(face.split for face in self._faces.values())
        return MappingProxyType({split: f"{self.name}/{split}" for split in splits if split not in (TRAIN, VAL)})

    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash annotations, splits, schema, options and the version of this importer's rules."""
        options = [self.options.layout, self.exif, self.offset_px, self.options.boxes, self.crop_px, self.color]
        digest = hashlib.sha256(json.dumps(["points importer 1", options, schema_document(self.schema)]).encode())
        for split, members in rows.items():
            for row in members:
                face = self._faces[row]
                digest.update(json.dumps([split, row.file, row.line, row.text, face.image, face.image_id]).encode())
        return digest.hexdigest()

    def read_sample(self, row: Row) -> Sample:
        """Open, turn and crop one face."""
        face = self._faces[row]
        annotation = face.annotation
        if face.problem is not None:
            raise RowError(face.problem)
        image, is_oriented = open_turned(self._images, face.image, exif=self.exif)
        if is_oriented:
            self._num_oriented.add(face.image)
        require_size(image, annotation.size)
        box, offset = annotation.box if self.options.boxes == "file" else None, self.offset_px
        return crop_face(
            image,
            annotation.points_k2 + offset,
            None if box is None else (box[0] + offset, box[1] + offset, box[2], box[3]),
            self.schema,
            image_id=face.image_id,
            group=annotation.group or face.image,
            crop_px=self.crop_px,
            color=self.color,
        )

    def name_splits(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> NamedSplits:
        """Name the splits, and say how pictures were turned, split and framed."""
        faces = [self._faces[row] for members in imported.values() for row in members]
        notes = list(self._notes)
        if num := len(self._num_oriented):
            done = "were turned by it" if self.exif else "were not turned by it (--exif ignore)"
            notes.append(f"{num:,} images have an EXIF orientation and {done}")
        with_box = sum(face.annotation.box is not None for face in faces) if self.options.boxes == "file" else 0
        notes.append(
            f"{with_box:,} faces are framed by their box, {len(faces) - with_box:,} by their points; "
            f"EXIF orientation {'applied' if self.exif else 'ignored'}"
        )
        num_partial = sum(bool(face.annotation.points_k2.size and _has_gap(face)) for face in faces)
        if num_partial:
            notes.append(f"{num_partial:,} faces have points that are not labeled")
        return NamedSplits({split: split for split in rows}, dict(self.test_splits), {}, notes)


def _with_unique_rows(content: Content) -> Content:
    """Rename rows that are there twice, as are annotations of the same id, so that each is accounted for."""
    seen: Counter[Row] = Counter()
    annotations = []
    for each in content.annotations:
        seen[each.row] += 1
        if (count := seen[each.row]) > 1:
            each = replace(each, row=each.row._replace(file=f"{each.row.file}, no. {count}"))
        annotations.append(each)
    return replace(content, annotations=annotations)


def _has_gap(face: _Face) -> bool:
    points_k2 = face.annotation.points_k2
    return bool((points_k2 != points_k2).any())
