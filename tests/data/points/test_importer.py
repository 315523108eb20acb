from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers.points.importer import PointsImporter, PointsOptions
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.keypoint_schemas.document import parse_schema
from rcn_search.keypoints import KeypointSchema
from tests.support.points import (
    SCHEMA_TEXT,
    SIZE,
    WRITERS,
    Kite,
    coco_document,
    draw_kites,
    write_coco,
    write_csv,
    write_labelme,
    write_pts,
)

SCHEMA = parse_schema(yaml.safe_load(SCHEMA_TEXT))
Import = Callable[..., Manifest]


@pytest.fixture
def kites(tmp_path: Path) -> list[Kite]:
    """Ten pictures in ``tmp_path``."""
    return draw_kites(tmp_path, 10)


@pytest.fixture
def run(tmp_path: Path) -> Import:
    """Import ``tmp_path`` into ``tmp_path/out-N``."""
    number = iter(range(100))

    def import_points(
        layout: str = "csv",
        *,
        source: Path = tmp_path,
        schema: KeypointSchema = SCHEMA,
        color: bool = False,
        **options: Any,
    ) -> Manifest:
        importer = PointsImporter(source, schema, PointsOptions(layout=layout, **options), color=color)
        return import_dataset(importer, str(tmp_path / f"out-{next(number)}")).manifest

    return import_points


def shard_hashes(manifest: Manifest) -> dict[str, list[str]]:
    return {split: [shard.sha256 for shard in shards] for split, shards in manifest.splits.items()}


def refusals(manifest: Manifest) -> dict[str, str]:
    return {refusal.row: refusal.reason for refusal in manifest.refused}


def test_csv_becomes_a_whole_data_set(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites)
    manifest = run(val=0.2, test=0.2)
    assert (manifest.name, manifest.keypoints, manifest.keypoint_schema) == ("kite", "kite", SCHEMA)
    assert {split: manifest.num_rows(split) for split in manifest.split_names} == {"train": 6, "val": 2, "test": 2}
    assert manifest.test_splits == {"test": "kite/test"}
    assert manifest.refused == []
    dataset = open_dataset(str(tmp_path / "out-0"))
    known = {kite.image: kite.points for kite in kites}
    for name in manifest.split_names:
        split = dataset.split(name)
        for row, image in enumerate(split.image_id_n.tolist()):
            box = split.box_n4[row]
            points = split.points_nk2[row].numpy() * (box[2] / 160) + box[:2]
            np.testing.assert_allclose(points, known[image], atol=1e-4)
            crop = split.images[0][row].numpy()
            x, y = split.points_nk2[row].mean(0).int().tolist()
            assert crop[y, x] > 150, "the center of the points is on the kite"


def test_layouts_of_the_same_kites_give_equal_shards(run: Import, tmp_path: Path) -> None:
    kites = draw_kites(tmp_path / "a", 12)
    kites += [Kite(kites[0].image, kites[0].points + np.array([0, 25.0]))]  # two in one picture
    kites[3].points[2] = np.nan
    hashes = {}
    for layout, write in WRITERS.items():
        if layout != "pts":
            write(tmp_path / "a", kites)
            hashes[layout] = shard_hashes(run(layout, source=tmp_path / "a"))
            for file in (tmp_path / "a").glob("*.json"):
                file.unlink()
    assert hashes["csv"] == hashes["coco"] == hashes["labelme"]
    write_csv(tmp_path / "a", kites[:-1])
    write_pts(tmp_path / "a", kites[:-1])
    assert shard_hashes(run("pts", source=tmp_path / "a")) == shard_hashes(run("csv", source=tmp_path / "a"))


def test_split_by_column_is_kept(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites, split=["Training"] * 6 + ["valid"] * 2 + ["test", "indoor"])
    manifest = run()
    assert {split: manifest.num_rows(split) for split in manifest.split_names} == {
        "train": 6,
        "val": 2,
        "indoor": 1,
        "test": 1,
    }
    assert manifest.test_splits == {"indoor": "kite/indoor", "test": "kite/test"}
    with pytest.raises(DatasetError, match="leave out --test"):
        run(test=0.2)


def test_split_by_file_is_kept(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    for name, part in (("kites_train2017.json", kites[:7]), ("kites_val.json", kites[7:])):
        write_coco(tmp_path, part, name=name)
    manifest = run("coco")
    assert {split: manifest.num_rows(split) for split in manifest.split_names} == {"train": 7, "val": 3}
    assert open_dataset(str(tmp_path / "out-0")).split("val").image_id_n.tolist() == [kite.image for kite in kites[7:]]


def test_image_in_two_splits_is_an_error(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites, name="train.csv")
    write_csv(tmp_path, [Kite("./" + kites[0].image, kites[0].points + 5), kites[1]], name="test.csv")
    with pytest.raises(
        DatasetError, match=r"'kite_000.png' is in 'test' \(test.csv:2 .*\) and in 'train' \(train.csv:2"
    ):
        run()
    assert not (tmp_path / "out-0").exists()


def test_group_is_never_divided(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites, group=[f"bird {number // 2}" for number in range(10)])
    manifest = run(val=0.2, test=0.2)
    dataset = open_dataset(str(tmp_path / "out-0"))
    groups = [{*dataset.split(split).group_n.tolist()} for split in manifest.split_names]
    assert [len(group) for group in groups] == [3, 1, 1]
    assert len(set.union(*groups)) == 5
    write_csv(tmp_path, kites, group=["one"] * 10, split=["train"] * 9 + ["val"])
    with pytest.raises(DatasetError, match="the group 'one' is in 'train'"):
        run()


def test_points_not_labeled_are_nan_and_not_visible(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    kites[0].points[2] = np.nan
    write_coco(tmp_path, kites)
    manifest = run("coco", val=0, test=0)
    split = open_dataset(str(tmp_path / "out-0")).split("train")
    assert split.image_id_n[0] == kites[0].image
    assert split.points_nk2[0].isnan().any(1).tolist() == [False, False, True]
    assert split.visible_nk.sum(1).tolist() == [2] + [3] * 9, "hidden points (v = 1) count as visible ones do"
    assert "1 faces have points that are not labeled" in manifest.notes


@pytest.mark.parametrize("crop_px", [64, 512])
def test_crop_px_is_the_side_of_crops(kites: list[Kite], run: Import, tmp_path: Path, crop_px: int) -> None:
    write_csv(tmp_path, kites)
    manifest = run(crop_px=crop_px, color=True)
    assert (manifest.crop_px, manifest.channels) == (crop_px, 3)
    split = open_dataset(str(tmp_path / "out-0")).split("train")
    assert split.images[0].shape[1:] == (crop_px, crop_px, 3)
    scale = split.box_n4[0, 2] / crop_px
    points = split.points_nk2[0].numpy() * scale + split.box_n4[0, :2]
    known = {kite.image: kite.points for kite in kites}
    np.testing.assert_allclose(points, known[split.image_id_n[0]], atol=1e-3)
    with pytest.raises(DatasetError, match="40 to 512 pixels"):
        run(crop_px=513)


def test_box_of_the_file_is_what_the_network_sees(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    boxes = {"box_x": [20] * 10, "box_y": [10] * 10, "box_width": [60] * 10, "box_height": [40] * 10}
    write_csv(tmp_path, kites, **boxes)
    run(val=0, test=0)
    split = open_dataset(str(tmp_path / "out-0")).split("train")
    scale = split.box_n4[0, 2] / 160
    face_box = split.face_box_n4[0].numpy() * scale
    np.testing.assert_allclose(face_box[:2] + split.box_n4[0, :2], [20, 0], atol=1e-3)  # the square around the box
    np.testing.assert_allclose(face_box[2:], [60, 60], atol=1e-3)
    assert split.box_n4[0, 2] == pytest.approx(60 * 1.7 / 1.3, abs=1.1)
    run(val=0, test=0, boxes="points")
    assert open_dataset(str(tmp_path / "out-1")).split("train").box_n4[0, 2] != split.box_n4[0, 2]


def test_exif_is_applied_or_ignored_as_the_tool_did(run: Import, tmp_path: Path) -> None:
    """A picture stored lying on its side: LabelMe shows it upright, a script may not."""
    kites = draw_kites(tmp_path, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright = Image.open(tmp_path / kites[0].image)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / kites[0].image, exif=exif)
    write_labelme(tmp_path, kites)
    manifest = run("labelme", val=0, test=0)
    assert "1 images have an EXIF orientation and were turned by it" in manifest.notes
    crop = open_dataset(str(tmp_path / "out-0")).split("train").images[0][0].numpy()
    refused = refusals(run("labelme", val=0, test=0, exif=False))
    assert "turned, or not, by its EXIF orientation" in refused["kite_000.json"]
    write_csv(tmp_path, kites)
    manifest = run(val=0, test=0)
    assert "1 images have an EXIF orientation and were not turned by it (--exif ignore)" in manifest.notes
    ignored = open_dataset(str(tmp_path / "out-2")).split("train").images[0][0].numpy()
    assert not np.array_equal(crop, ignored)
    run(val=0, test=0, exif=True)
    np.testing.assert_array_equal(open_dataset(str(tmp_path / "out-3")).split("train").images[0][0].numpy(), crop)


def test_images_are_found_by_path_then_by_unique_name(run: Import, tmp_path: Path) -> None:
    labels, photos = tmp_path / "labels", tmp_path / "photos"
    labels.mkdir()
    kites = draw_kites(photos / "deep", 5)
    names = [
        "deep/" + kites[0].image,
        kites[1].image,
        f"C:\\me\\{kites[2].image}",
        f"/old/disk/{kites[3].image}",
        "no.png",
    ]
    write_csv(labels, [Kite(name, kite.points) for name, kite in zip(names, kites, strict=True)])
    manifest = run(source=labels, images=photos, val=0, test=0)
    split = open_dataset(str(tmp_path / "out-0")).split("train")
    assert split.image_id_n.tolist() == [f"deep/{kite.image}" for kite in kites[:4]]
    assert refusals(manifest) == {"points.csv:6 no.png": "image is missing"}
    assert "3 faces: their image was found by its name alone, not by its path" in manifest.notes


def test_image_of_another_row_is_not_found_by_its_name(run: Import, tmp_path: Path) -> None:
    kites = draw_kites(tmp_path / "a", 4)
    rows = [Kite(f"a/{kite.image}", kite.points) for kite in kites]
    write_csv(tmp_path, [*rows, Kite(f"b/{kites[0].image}", kites[0].points + 9)])
    assert "image is missing; a/kite_000.png has its name" in refusals(run())["points.csv:6 b/kite_000.png"]


def test_two_images_of_one_name_are_told_apart_by_their_folders(run: Import, tmp_path: Path) -> None:
    kites = draw_kites(tmp_path / "photos" / "day", 2)
    draw_kites(tmp_path / "photos" / "night", 2, seed=1)
    names = [f"/disk/night/{kites[0].image}", kites[1].image, "day/" + kites[1].image]
    write_csv(tmp_path, [Kite(name, kites[1].points) for name in names])
    manifest = run(val=0, test=0)
    assert "2 images are called 'kite_001.png'" in refusals(manifest)["points.csv:3 kite_001.png"]
    ids = open_dataset(str(tmp_path / "out-0")).split("train").image_id_n.tolist()
    assert ids == ["photos/day/kite_001.png", "photos/night/kite_000.png"]


def test_links_are_followed_and_paths_never_leave_the_folder(run: Import, tmp_path: Path) -> None:
    kites = draw_kites(tmp_path / "store", 4)
    source = tmp_path / "mine"
    source.mkdir()
    (source / "photos").symlink_to(tmp_path / "store")
    rows = [Kite(f"photos/{kite.image}", kite.points) for kite in kites]
    secret = draw_kites(tmp_path / "secret", 1)[0]
    (tmp_path / "secret" / secret.image).rename(tmp_path / "secret" / "key.png")
    write_csv(
        source, [*rows, Kite("../secret/key.png", secret.points), Kite(f"{tmp_path}/secret/key.png", secret.points)]
    )
    manifest = run(source=source)
    assert sum(manifest.num_rows(split) for split in manifest.split_names) == 4
    assert {*refusals(manifest).values()} == {"the image path leaves the folder"}


def test_second_annotation_of_a_face_is_refused(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, [*kites, Kite(kites[0].image, kites[0].points + 0.5), kites[1]])
    reasons = refusals(run())
    assert [*reasons] == ["points.csv:12 kite_000.png", "points.csv:13 kite_001.png"]
    assert "the same face as points.csv:2 kite_000.png" in reasons["points.csv:12 kite_000.png"]


def test_bad_rows_are_refused_with_their_reason(run: Import, tmp_path: Path) -> None:
    kites = draw_kites(tmp_path, 20)
    document = coco_document(kites)
    bad = document["annotations"]
    bad[0]["keypoints"] = bad[0]["keypoints"][:6]
    bad[1]["keypoints"] *= 2
    bad[2]["bbox"] = [10, 10, 0, 20]
    bad[3]["keypoints"] = [0] * 9
    bad[4]["image_id"] = 77
    bad[5]["keypoints"][0] = "left"
    bad[6]["iscrowd"] = 1
    bad[7]["keypoints"] = [500, 500, 2, 520, 500, 2, 510, 520, 2]
    bad[8]["keypoints"] = [30, 30, 2, 30, 30, 2, 30.2, 30, 2]
    bad[9] = "not an annotation"
    bad[10]["id"] = bad[11]["id"]
    del bad[12]["keypoints"]
    (tmp_path / "points.json").write_text(json.dumps(document))
    (tmp_path / kites[13].image).write_bytes(b"no image")
    (tmp_path / kites[14].image).unlink()
    Image.new("RGB", (SIZE[0] * 2, SIZE[1])).save(tmp_path / kites[15].image)
    manifest = run("coco", val=0, test=0)
    reasons = {row.removeprefix("points.json, annotation "): reason for row, reason in refusals(manifest).items()}
    expected = {
        "0": "2 keypoints of x, y and v; the schema 'kite' has 3",
        "1": "6 keypoints of x, y and v",
        "2": "a box of no size: 0x20 pixels",
        "3": "no point is labeled",
        "4": "no image has the id 77",
        "5": "'left', not a number",
        "6": "a crowd, not one face",
        "7": "center (510, 506.667) lies outside its 96x72 image",
        "8": "span no box",
        "no. 10": "it is no annotation",
        "12": "no keypoints",
        "13": "image cannot be read",
        "14": "image is missing",
        "15": "the image has 192x72 pixels, its annotation is for 96x72",
    }
    assert reasons.keys() == expected.keys()
    for row, reason in expected.items():
        assert reason in reasons[row], row
    assert manifest.num_rows("train") == 20 - len(expected)


def test_source_of_another_layout_is_named(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    for layout, write in WRITERS.items():
        folder = tmp_path / f"in-{layout}"
        draw_kites(folder, 3)
        write(folder, kites[:3])
        for other in WRITERS:
            if other != layout:
                with pytest.raises(DatasetError, match=f"looks like the layout {layout}: give --layout {layout}"):
                    run(other, source=folder)


def test_schema_of_other_points_is_an_error(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites)
    write_coco(tmp_path, kites)
    two = parse_schema({"name": "two", "points": ["left", "right"], "flip": []})
    with pytest.raises(DatasetError, match="columns for 3 points; the schema 'two' has 2"):
        run(schema=two)
    with pytest.raises(DatasetError, match="the category 'kite' has points that the schema 'two' lacks: tip"):
        run("coco", schema=two)
    four = parse_schema({"name": "four", "points": ["left", "right", "tip", "tail"], "flip": []})
    with pytest.raises(DatasetError, match=r"the schema 'four' has 4, of which it lacks tail"):
        run("coco", schema=four)
    with pytest.raises(DatasetError, match="'five' is the name of a built-in keypoint schema"):
        run(schema=parse_schema({"name": "five", "points": ["a"], "flip": []}))


def test_coco_without_keypoints_is_an_error(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    document = coco_document(kites)
    for each in document["annotations"]:
        del each["keypoints"]
    (tmp_path / "points.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"points.json has no keypoints: none of its 10 annotations has any"):
        run("coco")


def test_nothing_is_written_where_no_face_is_usable(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, [Kite(f"missing/{number}.png", kite.points) for number, kite in enumerate(kites)])
    with pytest.raises(DatasetError, match=r"none of the 10 faces can be imported; .*points.csv:2 .*image is missing"):
        run()
    assert not (tmp_path / "out-0").exists()
    (tmp_path / "points.csv").write_text("image,x1,y1,x2,y2,x3,y3\n")
    with pytest.raises(DatasetError, match="no annotated face in 1 files"):
        run()


def test_same_annotations_give_the_same_data_set(kites: list[Kite], run: Import, tmp_path: Path) -> None:
    write_csv(tmp_path, kites)
    first = run()
    write_csv(tmp_path, kites[::-1])
    assert shard_hashes(run()) == shard_hashes(first)
    kites[0].points[0, 0] += 1
    write_csv(tmp_path, kites)
    assert shard_hashes(run()) != shard_hashes(first)
