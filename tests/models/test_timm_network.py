from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from rcn_search.config.schema import TimmConfig
from rcn_search.errors import RcnSearchError
from rcn_search.models import build_model, build_without_memory
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.models.timm_network import TimmNetwork

TINY = {"backbone": "mobilenetv3_small_050", "deconv_channels": 8}

HEADS = ("heatmap", "simcc", "coordinates")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("input_px", "in_channels"), [(80, 1), (50, 3)])
def test_timm_network_of_each_head_gives_what_every_network_does(head: str, input_px: int, in_channels: int) -> None:
    config = TimmConfig.model_validate({**TINY, "head": head})
    network = build_model(config, num_points=3, input_px=input_px, in_channels=in_channels).eval()
    with torch.no_grad():
        output = network(torch.rand(2, in_channels, input_px, input_px))
    if head == "coordinates":
        assert isinstance(output, TcdcnOutput)
        assert output.points_bk2.shape == (2, 3, 2)
    else:
        assert output.shape == (2, 3, input_px, input_px)


@pytest.mark.usefixtures("timm")
def test_timm_resnet_with_deconvolutions_is_the_simple_baseline() -> None:
    network = build_model(TimmConfig(), num_points=17, input_px=256, in_channels=3)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(512, 256), (256, 256), (256, 256)]
    # ResNet-18 without its 1,000 classes, three deconvolutions, and 17 maps; as in the table of Xiao et al. (15.4 M).
    expected = 11_689_512 - 513_000 + 16 * 256 * (512 + 256 + 256) + 3 * 2 * 256 + 17 * 257
    assert count_parameters(network) == expected
    assert TimmNetwork(TimmConfig(), 17, 256, 3).eval()(torch.rand(1, 3, 256, 256)).shape == (1, 17, 64, 64)


@pytest.mark.usefixtures("timm")
def test_timm_hrnet_gives_its_finest_features_without_a_deconvolution() -> None:
    config = TimmConfig(backbone="hrnet_w18_small", feature_stride=4)
    network = build_model(config, num_points=5, input_px=64)
    assert not any(isinstance(layer, torch.nn.ConvTranspose2d) for layer in network.modules())
    assert network.module.head.logits.in_channels == 16


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(("backbone", "stride"), [("hrnet_w18_small", 4), ("convnext_atto", 32)])
def test_timm_backbone_that_cannot_halve_an_input_sees_it_padded(backbone: str, stride: int) -> None:
    config = TimmConfig(backbone=backbone, feature_stride=stride, deconv_channels=8)
    network = TimmNetwork(config, 3, 80, 1).eval()
    image = torch.rand(1, 1, 80, 80)
    with torch.no_grad():
        padded = torch.nn.functional.pad(image, (0, 16, 0, 16))
        whole = network.backbone(padded)[0]
        assert whole.shape[-1] == 96 // stride
        side = -(-80 // stride)
        expected = network.head(network.deconvolutions(whole[..., :side, :side]))
        assert expected.shape == (1, 3, 20, 20)
        assert torch.equal(network(image), expected)
    assert TimmNetwork(config, 3, 96, 1).padding_px == 0


@pytest.mark.usefixtures("timm")
def test_timm_network_is_built_from_its_seed_alone_and_without_what_it_does_not_use() -> None:
    config = TimmConfig(backbone="resnet10t", feature_stride=8, deconv_channels=8)
    before = torch.get_rng_state()
    first, again, other = (build_model(config, num_points=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    shapes = {name: value.shape for name, value in first.state_dict().items()}
    empty = build_without_memory(config, num_points=3, input_px=80, in_channels=1)
    assert {name: value.shape for name, value in empty.state_dict().items()} == shapes
    assert count_parameters(first) < 1_000_000  # of 5 million with the later features
    assert multiply_adds(first, 80) > 0
    output = first.train()(torch.rand(2, 1, 80, 80))
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in first.parameters())


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"backbone": "resnet_18"}, "has no such network; timm.list_models"),
        ({"backbone": "mobilenetv3_small"}, r"did you mean .*mobilenetv3_small_050"),
        ({"backbone": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "for an input of 80 px"),
    ],
)
def test_timm_backbone_that_does_not_fit_is_refused(model: dict[str, object], message: str) -> None:
    config = TimmConfig.model_validate(model)
    with pytest.raises(RcnSearchError, match=message):
        build_model(config, num_points=3)


def test_timm_config_refuses_what_has_no_effect() -> None:
    with pytest.raises(ValidationError, match="weights are not downloaded"):
        TimmConfig.model_validate({"pretrained": True})
    with pytest.raises(ValidationError, match="map_stride 32 must not be over feature_stride 16"):
        TimmConfig(feature_stride=16, map_stride=32)


def test_timm_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RcnSearchError, match=r"pip install 'rcn-search\[timm\]'"):
        build_model(TimmConfig(), num_points=3)


def test_timm_beside_another_torchvision_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision ends where its compiled part cannot be loaded."""
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(RcnSearchError) as caught:
        build_model(TimmConfig(), num_points=3)
    said = "timm cannot be imported: RuntimeError: operator torchvision::nms does not exist. Its torchvision is not one"
    assert said in str(caught.value)
    assert "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu" in str(caught.value)
