"""Ranges of drawn faces, which a study can search; the defaults draw the faces that have always been drawn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rcn_search.config.frozen_model import FrozenModel

Contour = Literal["outline", "surface"]


class DrawingConfig(FrozenModel):
    """What drawn faces vary in, and how far."""

    yaw_deg: float = Field(60.0, ge=0, le=70, description="Largest turn to either side; a third of it is usual.")
    pitch_deg: float = Field(25.0, ge=0, le=35, description="Largest nod.")
    roll_deg: float = Field(25.0, ge=0, le=45, description="Largest tilt in the picture.")
    light: float = Field(
        1.0, ge=0, le=2, description="How far light comes from aside and is uneven, relative to the usual."
    )
    blur: float = Field(
        1.0, ge=0, le=1.4, description="Share of pictures that are blurred or of low resolution, relative to the usual."
    )
    occluders: float = Field(
        1.0, ge=0, le=2, description="Number of hands, scarves and other things before the face, relative to the usual."
    )
    crop_jitter: float = Field(
        1.0, ge=0, le=1, description="How far off center and size a face is in its crop, relative to the usual."
    )
    contour: Contour = Field(
        "outline",
        description="Where contour points that turn away are labeled (68 points): at the visible outline, as in 300-W, "
        "or where they are on the surface.",
    )


class DrawnFacesConfig(DrawingConfig):
    """Drawn faces to train on, in place of the images of the data set."""

    num_faces: int = Field(6_000, ge=1, le=1_000_000, description="Number of faces.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the faces.")
