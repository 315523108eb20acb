"""Draw faces with exact keypoints: unlimited training images without a license.

Each step is one module:

1. `traits`: chooses the person, the expression and the pose at random;
2. `head`: shapes the surface of the head, with the 68 points on it;
3. `projection`: turns the head, and frames it like a crop of a face data set;
4. `paint`, `render`: paint skin, eyes, lips and hair on the surface; add light and remove hidden surfaces;
5. `scene`: adds background, other people, neck and clothes; `accessories`: adds glasses, hands and other occluders;
6. `degradation`: adds blur, exposure, noise and compression.

The points are projections of points on the surface, so they are exact even where something hides them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rcn_search.config.drawing import DrawingConfig
from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.shards import DatasetError
from rcn_search.data.synthetic import accessories, scene
from rcn_search.data.synthetic.degradation import photograph
from rcn_search.data.synthetic.head import Head
from rcn_search.data.synthetic.projection import five_of, frame, landmarks_xyz
from rcn_search.data.synthetic.render import SUPERSAMPLE, random_light, render_head
from rcn_search.data.synthetic.traits import USUAL, Traits, random_traits
from rcn_search.keypoints import KeypointSchema

__all__ = ["SyntheticFace", "draw_face"]


@dataclass(frozen=True, kw_only=True)
class SyntheticFace:
    """A picture and its labels."""

    image: NDArray[np.uint8]  # uint8 (160, 160) gray
    points: NDArray[np.float32]  # float32 (K, 2) x, y in pixels; pixel i covers [i, i + 1)
    visible: NDArray[np.bool_]  # bool (K,); False where the head itself, dark glasses or an object hides the point
    # MTFL's codes: gender 0 male 1 female, smile 0 smiling 1 not, glasses 0 worn 1 not, pose 0 (left profile) to 4
    # (right profile)
    attributes: dict[str, int]
    skin: int  # tone of the skin: 0 dark, 1 medium, 2 light


def draw_face(seed: int, schema: KeypointSchema, ranges: DrawingConfig = USUAL) -> SyntheticFace:
    """Draw the face of a seed. The picture does not depend on earlier calls or on the schema.

    Its bytes depend on the seed, on the versions of NumPy and Pillow and, by rounding, on the kind of processor.

    Raises:
        DatasetError: The schema is another one, or the seed is negative.

    Example:
        >>> from rcn_search.keypoints import keypoint_schema
        >>> face = draw_face(7, keypoint_schema("five"))
        >>> face.image.shape, face.points.shape
        ((160, 160), (5, 2))
    """
    if schema.name not in ("five", "ibug68"):
        raise DatasetError(f"drawn faces have the keypoint schema five or ibug68, not {schema.name!r}")
    if seed < 0:
        raise DatasetError(f"the seed of a synthetic face must not be negative, got {seed}")
    traits = random_traits(np.random.default_rng([seed, 0]), ranges)
    return _draw(traits, np.random.default_rng([seed, 1]), schema, ranges)


def _draw(traits: Traits, rng: np.random.Generator, schema: KeypointSchema, ranges: DrawingConfig) -> SyntheticFace:
    head = Head(traits)
    landmarks_3k = landmarks_xyz(head, ranges.contour)
    view = frame(traits, landmarks_3k, rng, ranges.crop_jitter)
    points_3k = np.stack(view.project(landmarks_3k))  # x, y in pixels, depth
    five_3k = five_of(points_3k)
    light = random_light(rng, ranges.light)
    rendered, gain = render_head(head, view, light, rng)

    canvas = scene.background(rng)
    scene.bystanders(canvas, rendered, five_3k[:2, :2].T, view.scale_px, rng)
    scene.body(canvas, head, view, light, gain, rng)
    canvas.paste(rendered.pixels, (0, 0), rendered.cover)
    lenses = accessories.wear_glasses(canvas, head, view, rendered, rng)
    objects = accessories.occlude(canvas, points_3k[:2].T, view.scale_px, traits.skin * gain, rng, ranges.occluders)
    image = photograph(canvas, rng, ranges)

    x_px, y_px, depth = points_3k if schema.name == "ibug68" else five_3k
    hidden = rendered.hides(x_px, y_px, depth)
    if schema.name == "ibug68" and ranges.contour == "outline":
        hidden[:17] = False  # `landmarks_xyz` puts the contour on the visible outline
    for mask in (lenses, objects):
        if mask.getbbox():
            hidden |= np.asarray(mask)[(y_px * SUPERSAMPLE).astype(int), (x_px * SUPERSAMPLE).astype(int)] > 127
    points_k2 = np.stack([x_px, y_px], axis=1)
    assert points_k2.min() >= 0
    assert points_k2.max() < IMAGE_SIZE_PX
    return SyntheticFace(
        image=image,
        points=points_k2.astype(np.float32),
        visible=~hidden,
        attributes={
            "gender": int(traits.female),
            "smile": int(not traits.smiling),
            "glasses": int(traits.glasses == "none"),
            "pose": traits.pose_code,
        },
        skin=traits.skin_code,
    )
