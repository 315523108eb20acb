"""Features of a network of timm (https://github.com/huggingface/pytorch-image-models), and a head for keypoints.

With a ResNet and the head ``heatmap`` it is the simple baseline of Xiao et al. (ECCV 2018, sec. 3): the last features,
three deconvolutions and a 1x1 convolution. With an HRNet and ``feature_stride: 4`` it is the network of Sun et al.
(CVPR 2019): a 1x1 convolution of the finest of the features that exchange their resolutions. The heads are those of
`rcn_search.models.heads`.

A backbone that halves its input only where two divides it, as HRNet and ConvNeXt, sees it with zeros at the right and
bottom edge, up to a multiple of 32 pixels; the features there are cut off.

timm imports torchvision, whose compiled part has to fit PyTorch's; both are imported when a network is built only.

Shape letters: b images, c channels, k points, g rows and columns of the features, h of the input.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rcn_search.config.schema import TimmConfig
from rcn_search.errors import RcnSearchError
from rcn_search.models.blocks import check_input_px, upsample_bilinear
from rcn_search.models.custom import CustomNetwork
from rcn_search.models.heads import Deconvolutions, build_head

_MULTIPLE_PX = 32  # which divides the inputs that networks of timm were made for


class TimmNetwork(nn.Module):
    """Network from images (b, c, h, h) to logits (b, k, g, g) or (b, k, h, h), or points (b, k, 2)."""

    def __init__(self, config: TimmConfig, num_points: int, input_px: int, in_channels: int) -> None:
        """Create it with the initial weights of timm.

        Raises:
            RcnSearchError: timm cannot be imported, has no such backbone, or its features do not fit the input.
        """
        super().__init__()
        check_input_px(input_px)
        self.backbone, channels = _features(config, in_channels)
        self.side_px = -(-input_px // config.feature_stride)
        self.padding_px = self._find_padding(config, torch.zeros(1, in_channels, input_px, input_px), channels)
        last_stride = config.feature_stride if config.head == "coordinates" else config.map_stride
        num_layers = (config.feature_stride // last_stride).bit_length() - 1
        sides_px = [-(-input_px // (config.feature_stride >> layer)) for layer in range(1, num_layers + 1)]
        self.deconvolutions = Deconvolutions(channels, config.deconv_channels, sides_px)
        side_px = -(-input_px // last_stride)
        self.head = build_head(
            config.head, self.deconvolutions.out_channels, num_points, side_px=side_px, input_px=input_px
        )
        self.last_stride = last_stride

    @torch.no_grad()
    def _find_padding(self, config: TimmConfig, image_bchw: Tensor, channels: int) -> int:
        """Find how many rows and columns of zeros an image needs: none, or those up to a multiple of 32."""
        input_px, was_training, problem = image_bchw.shape[-1], self.backbone.training, ""
        self.backbone.eval()
        for padding_px in (0, -input_px % _MULTIPLE_PX):
            try:
                shape = tuple(self.backbone(F.pad(image_bchw, (0, padding_px, 0, padding_px)))[0].shape)
            except Exception as error:  # of a package that is not ours
                problem = f"raised {type(error).__name__}: {error}"
                continue
            if len(shape) == 4 and shape[1] == channels and min(shape[2:]) >= self.side_px:
                self.backbone.train(was_training)
                return padding_px
            problem = f"gives features {shape}, not ({channels}, {self.side_px}, {self.side_px}) of each image"
        raise RcnSearchError(f"model.backbone = {config.backbone} {problem}, for an input of {input_px} px")

    def _features(self, image_bchw: Tensor) -> Tensor:
        padded_bchw = F.pad(image_bchw, (0, self.padding_px, 0, self.padding_px)) if self.padding_px else image_bchw
        features_bcgg: Tensor = self.backbone(padded_bchw)[0]
        return features_bcgg[..., : self.side_px, : self.side_px]

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Compute logits, of the side h or one that divides it, or points in window coordinates."""
        input_px = image_bchw.shape[-1]
        output: Tensor = self.head(self.deconvolutions(self._features(image_bchw)))
        if output.ndim == 3 or input_px % output.shape[-1] == 0:
            return output
        # The last of the maps' pixels is partly outside of the input.
        return upsample_bilinear(output.float(), output.shape[-1] * self.last_stride)[..., :input_px, :input_px]


def build_timm(config: TimmConfig, num_points: int, input_px: int, in_channels: int, *, seed: int = 0) -> CustomNetwork:
    """Build a network on the CPU, with the weights that timm draws from ``seed``.

    The global random state is neither read nor changed.

    Raises:
        RcnSearchError: timm cannot be imported, has no such backbone, or its features do not fit the input.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = TimmNetwork(config, num_points, input_px, in_channels)
    return CustomNetwork(module, f"timm's {config.backbone}", num_points, input_px, in_channels)


def _features(config: TimmConfig, in_channels: int) -> tuple[nn.Module, int]:
    """Create the backbone up to the wanted features, which it returns in a list; return it, and their channels."""
    timm = _import_timm()
    if not timm.is_model(config.backbone):
        close = timm.list_models(f"*{config.backbone}*")[:5]
        hint = f"; did you mean {', '.join(close)}?" if close else "; timm.list_models() lists them"
        raise RcnSearchError(f"model.backbone = {config.backbone}: timm {timm.__version__} has no such network{hint}")
    options: dict[str, Any] = {"pretrained": False, "features_only": True, "in_chans": in_channels}
    if config.backbone.startswith("hrnet"):
        options["feature_location"] = ""  # those that exchange their resolutions, not what classification makes of them
    try:
        with torch.device("meta"):
            infos = timm.create_model(config.backbone, **options).feature_info
        strides, channels = infos.reduction(), infos.channels()
        levels = [level for level, stride in enumerate(strides) if stride == config.feature_stride]
        if levels:
            return timm.create_model(config.backbone, out_indices=(levels[-1],), **options), channels[levels[-1]]
    except Exception as error:  # of a package that is not ours
        raise RcnSearchError(
            f"model.backbone = {config.backbone} gives no features: {type(error).__name__}: {error}"
        ) from error
    raise RcnSearchError(
        f"model.backbone = {config.backbone} has no features of model.feature_stride = {config.feature_stride}; it has "
        f"{', '.join(map(str, strides))}"
    )


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise RcnSearchError(f"model.name = timm: {error}; install it with: pip install 'rcn-search[timm]'") from error
    except Exception as error:  # torchvision's compiled part does not fit PyTorch's
        raise RcnSearchError(
            f"model.name = timm: timm cannot be imported: {type(error).__name__}: {error}. Its torchvision is not one "
            f"for PyTorch {torch.__version__}: install both from one index, for machines without a GPU with "
            "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
        ) from error
