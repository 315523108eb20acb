"""Options of inference, and how prediction files and leaderboard entries record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from rcn_search.config.schema import Decoder, FrozenModel
from rcn_search.errors import RcnSearchError

Augmentation = Literal["flip", "multiview"]
"""Average over an image and its flipped image; over nine windows that are turned and scaled a little."""

NO_AUGMENTATION = "none"


class InferenceConfig(FrozenModel):
    """Everything besides the weights that decides where predicted points lie, and the device.

    >>> InferenceConfig(decoder="median", tta=("flip", "multiview")).record()
    {'decoder': 'median', 'tta': 'flip+multiview'}
    """

    decoder: Decoder | None = Field(
        None, description="From a probability map to a cell; by default argmax, or soft-argmax for l2 and wing."
    )
    tta: tuple[Augmentation, ...] = Field((), description="Test-time augmentation; both may be combined.")
    denoiser_uri: str | None = Field(None, description="Checkpoint of a denoiser, to make a joint model with.")
    device: str = Field("auto", description="cpu, cuda or cuda:1; auto is a GPU if there is one.")

    @field_validator("tta")
    @classmethod
    def _in_fixed_order(cls, tta: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        return tuple(name for name in get_args(Augmentation) if name in tta)

    @property
    def flip(self) -> bool:
        """Whether predictions are averaged over each image and its flipped image."""
        return "flip" in self.tta

    @property
    def multiview(self) -> bool:
        """Whether predictions are averaged over several windows of each face."""
        return "multiview" in self.tta

    def record(self) -> dict[str, str]:
        """Return the metadata that prediction files and leaderboard entries keep."""
        decoder = {"decoder": self.decoder} if self.decoder else {}
        return {**decoder, "tta": "+".join(self.tta) or NO_AUGMENTATION}

    @classmethod
    def from_record(
        cls,
        record: Mapping[str, Any],
        *,
        decoder: Decoder | None = None,
        tta: Sequence[str] | None = None,
        denoiser_uri: str | None = None,
        device: str = "auto",
    ) -> InferenceConfig:
        """Read what `record` wrote; ``decoder`` and ``tta`` replace the recorded ones.

        ``record`` may have other keys, which are ignored. It has only the run id of the denoiser, not its checkpoint.

        Raises:
            RcnSearchError: A decoder or test-time augmentation has a name that is not known.
        """
        recorded_tta = str(record.get("tta", NO_AUGMENTATION))
        options = {
            "decoder": decoder or record.get("decoder"),
            "tta": tta if tta is not None else [name for name in recorded_tta.split("+") if name != NO_AUGMENTATION],
            "denoiser_uri": denoiser_uri,
            "device": device,
        }
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            problem = error.errors()[0]
            raise RcnSearchError(f"{problem['loc'][0]} {problem['input']!r} is not known: {problem['msg']}") from error


DEFAULT_INFERENCE = InferenceConfig()
