"""Contract of all models."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from torch import Tensor, nn

from rcn_search.config.schema import BranchesConfig, ModelConfig, RcnConfig, SumNetConfig, TcdcnConfig
from rcn_search.models import build_model
from rcn_search.models.tcdcn import TcdcnOutput

MODELS: dict[str, ModelConfig] = {
    "rcn": RcnConfig(),
    "rcn-1": RcnConfig(branches=1),
    "rcn-4": RcnConfig(branches=4),
    "rcn-7-skip-wide": RcnConfig(branches=7, skip=True, channels=12),
    "sumnet": SumNetConfig(),
    "sumnet-1": SumNetConfig(branches=1),
    "sumnet-pixel": SumNetConfig(branches=4, fusion_weights="pixel", channels=8),
    "rcn-300w": RcnConfig(branches=5, layer_preset="300w", channels=8),
    "rcn-300w-skip": RcnConfig(branches=5, layer_preset="300w", channels=8, skip=True),
    "rcn-300w-3x3": RcnConfig(branches=5, layer_preset="300w-3x3", channels=8),
    "rcn-released": RcnConfig(branches=5, layer_preset="300w", channels=8, upsampling="learned", zero_non_pooled=True),
    "rcn-bilinear": RcnConfig(branches=6, channels=8, upsampling="bilinear"),
    "rcn-1010-learned": RcnConfig(branches=4, mask="1010", channels=8, upsampling="learned"),
    "sumnet-300w": SumNetConfig(branches=6, layer_preset="300w", channels=8),
    "sumnet-0110": SumNetConfig(branches=4, mask="0110", upsampling="bilinear"),
    "tcdcn": TcdcnConfig(),
    "tcdcn-auxiliary": TcdcnConfig(auxiliary=True),
}
every_model = pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())


def images(input_px: int = 80, batch: int = 2) -> Tensor:
    return torch.randn(batch, 1, input_px, input_px, generator=torch.Generator().manual_seed(3))


def tensors(output: Tensor | TcdcnOutput) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [output.points_bk2, *output.attributes_logits.values()]


def loss_of(output: Tensor | TcdcnOutput) -> Tensor:
    """Compute the NLL of the last pixel of each map and of the last class of each attribute, or the squared points."""
    if isinstance(output, Tensor):
        return -output.float().flatten(2).log_softmax(-1)[..., -1].mean()
    attributes = [-logits.log_softmax(-1)[:, -1].mean() for logits in output.attributes_logits.values()]
    return sum(attributes, start=output.points_bk2.square().mean())


@every_model
@pytest.mark.parametrize("num_points", [5, 68])
@pytest.mark.parametrize("input_px", [80, 40])
def test_build_model_output_shapes(config: ModelConfig, num_points: int, input_px: int) -> None:
    if config.name == "rcn" and input_px == 40:
        config = config.model_copy(update={"branches": min(config.branches, 6)})
    model = build_model(config, num_points=num_points, input_px=input_px)
    with torch.no_grad():
        output = model(images(input_px))
    if isinstance(output, TcdcnOutput):
        assert output.points_bk2.shape == (2, num_points, 2)
    else:
        assert output.shape == (2, num_points, input_px, input_px)


@pytest.mark.parametrize("input_px", [44, 50, 100, 128, 256])
@pytest.mark.parametrize(
    "config",
    [
        RcnConfig(channels=8),
        RcnConfig(channels=8, upsampling="learned", zero_non_pooled=True),
        RcnConfig(channels=8, skip=True, upsampling="bilinear"),
        RcnConfig(branches=4, mask="1010", channels=8, upsampling="learned"),
        SumNetConfig(channels=8),
        SumNetConfig(channels=8, fusion_weights="pixel"),
    ],
    ids=["rcn", "rcn-learned", "rcn-skip", "rcn-1010", "sumnet", "sumnet-pixel"],
)
def test_build_model_of_any_size_with_as_many_branches_as_fit(config: ModelConfig, input_px: int) -> None:
    if isinstance(config, BranchesConfig) and not config.mask:
        config = config.model_copy(update={"branches": input_px.bit_length()})
    model = build_model(config, num_points=3, input_px=input_px, in_channels=3)
    logits = model(torch.rand(1, 3, input_px, input_px))
    assert logits.shape == (1, 3, input_px, input_px)
    loss_of(logits).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_model
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_build_model_gradient_reaches_every_parameter(
    config: ModelConfig, precision: str, memory_format: torch.memory_format
) -> None:
    model = build_model(config, num_points=5).train().to(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = model(images().to(memory_format=memory_format))
    assert all(t.isfinite().all() for t in tensors(output))
    loss_of(output).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every_model
def test_build_model_gradient_step_lowers_the_loss(config: ModelConfig) -> None:
    model = build_model(config, num_points=5)
    before = loss_of(model(images()))
    before.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter -= 1e-3 / norm * parameter.grad
        assert loss_of(model(images())) < before


@every_model
def test_build_model_weights_depend_only_on_the_seed(config: ModelConfig) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_model(config, num_points=5, seed=7).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    again = build_model(config, num_points=5, seed=7).state_dict()
    other = build_model(config, num_points=5, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


@every_model
def test_build_model_output_does_not_depend_on_the_batch(config: ModelConfig) -> None:
    model = build_model(config, num_points=5).eval()
    with torch.no_grad():
        alone, together = model(images()[:1]), model(images())
    for one, both in zip(tensors(alone), tensors(together), strict=True):
        torch.testing.assert_close(one, both[:1], rtol=1e-4, atol=1e-5)


@every_model
def test_l2_groups_hold_each_weight_once_and_no_bias(config: ModelConfig) -> None:
    model = build_model(config, num_points=5)
    grouped = [id(weight) for group in model.l2_groups() for weight in group]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sorted(grouped) == sorted(id(layer.weight) for layer in layers)


# SHA-256 of all parameters in order, as initialized by the first version.
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RcnConfig(), "4d8be232293b"),
        (RcnConfig(branches=7, skip=True), "02666f0c799e"),
        (RcnConfig(branches=4, channels=12), "fe2e31e4014c"),
        (SumNetConfig(fusion_weights="pixel"), "d7a2525ac5b8"),
        (TcdcnConfig(auxiliary=True), "dcc037f514a9"),
    ],
)
def test_build_model_weights_of_a_seed_never_change(config: ModelConfig, expected: str) -> None:
    sha256 = hashlib.sha256()
    for parameter in build_model(config, num_points=5, seed=7).parameters():
        sha256.update(parameter.detach().numpy().tobytes())
    assert sha256.hexdigest()[:12] == expected


@pytest.mark.parametrize("name", ["rcn", "sumnet"])
def test_build_model_with_three_channels(name: str) -> None:
    model = build_model(MODELS[name], num_points=5, in_channels=3)
    first = model.get_submodule("trunk.0")
    assert isinstance(first, nn.Conv2d)
    assert first.weight.shape == (16, 3, 3, 3)
    image = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model(image)
        image[:, 2] = 0
        assert logits.shape == (2, 5, 80, 80)
        assert not torch.equal(model(image), logits)


# Layers from 1 to 16, and from 16 to 5 channels.
@pytest.mark.parametrize(("layer", "bound"), [("trunk.0", 0.36515), ("branches.5.rest.0", 0.19675)])
def test_reset_parameters_bounds(layer: str, bound: float) -> None:
    module = build_model(RcnConfig(), num_points=5).get_submodule(layer)
    assert isinstance(module, nn.Conv2d)
    assert module.weight.abs().max() <= bound
    assert module.weight.abs().max() > 0.95 * bound
    assert module.bias is not None
    assert not module.bias.any()
