from __future__ import annotations

import pytest
import torch

from rcn_search.config.network_target import TargetError, allow_target
from rcn_search.config.schema import OptimizerConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import upsample_bilinear
from rcn_search.models.complexity import count_parameters, multiply_adds
from rcn_search.models.custom import CustomNetwork, check_output
from rcn_search.models.tcdcn import TcdcnOutput
from rcn_search.training.optim import build_optimizers
from tests.support.networks import TINY, WriteModule, custom


def build(name: str, network: str = "Tiny", **args: object) -> CustomNetwork:
    allow_target(name)
    built = build_model(custom(f"{name}:{network}", **args), num_points=5, input_px=40, seed=3)
    assert isinstance(built, CustomNetwork)
    return built


def test_custom_network_maps_of_a_lower_resolution_are_upsampled(write_module: WriteModule) -> None:
    network = build(write_module(TINY)).eval()
    image_bchw = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits_bkhw = network(image_bchw)
        native = network.module(image_bchw)
    assert native.shape == (2, 5, 10, 10)
    assert logits_bkhw.shape == (2, 5, 40, 40)
    assert torch.equal(logits_bkhw, upsample_bilinear(native, 40))


def test_custom_network_of_points(write_module: WriteModule) -> None:
    output = check_output(build(write_module(TINY), "Points"))
    assert isinstance(output, TcdcnOutput)
    assert output.points_bk2.shape == (2, 5, 2)
    assert output.attributes_logits == {}


@pytest.mark.parametrize("network", ["Tiny", "Points"])
def test_custom_network_is_exported_for_batches_of_any_size(write_module: WriteModule, network: str) -> None:
    built = build(write_module(TINY), network).eval()
    program = torch.export.export(built, (torch.rand(3, 1, 40, 40),), dynamic_shapes=({0: torch.export.Dim("b")},))
    image_bchw = torch.rand(5, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    outputs = [program.module()(image_bchw), built(image_bchw)]
    first, second = (output if isinstance(output, torch.Tensor) else output.points_bk2 for output in outputs)
    torch.testing.assert_close(first, second)


def test_custom_network_weights_depend_on_the_seed_alone(write_module: WriteModule) -> None:
    name = write_module(TINY)
    state = torch.get_rng_state()
    first = build(name).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(8)
    assert all(torch.equal(value, first[key]) for key, value in build(name).state_dict().items())


def test_custom_network_decays_only_weights_of_its_layers(write_module: WriteModule) -> None:
    network = build(write_module(TINY))
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    trunk, weights = network.l2_groups()
    assert not trunk
    assert [names[id(weight)] for weight in weights] == ["module.body.0.weight", "module.body.4.weight"]


def test_custom_network_is_counted_as_every_other(write_module: WriteModule) -> None:
    network = build(write_module(TINY), width=8, stride=2)
    assert count_parameters(network) == 8 * 9 + 8 + 16 + 5 * 8 * 9 + 5
    assert multiply_adds(network, 40) == 20 * 20 * (8 * 9 + 5 * 8 * 9)
    assert network.training


def test_muon_skips_weights_that_the_output_does_not_depend_on(write_module: WriteModule) -> None:
    name = write_module(
        """
        import torch
        from torch import nn
        class Unused(nn.Module):
            def __init__(self, num_points, input_px, in_channels):
                super().__init__()
                self.used, self.unused = nn.Conv2d(in_channels, num_points, 3, padding=1), nn.Linear(32, 32)
            def forward(self, image):
                return self.used(image)
        """
    )
    network = build(name, "Unused")
    muon, adamw = build_optimizers(network, OptimizerConfig())
    before = network.module.unused.weight.detach().clone()
    network(torch.rand(2, 1, 40, 40)).square().sum().backward()
    muon.step()
    adamw.step()
    assert torch.equal(network.module.unused.weight, before)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return image", r"returns a tensor of shape \(2, 1, 40, 40\); wanted are logits \(2, 5, g, g\)"),
        ("return image.expand(-1, 5, -1, -1)[..., :7, :7]", r"shape \(2, 5, 7, 7\).*divides 40, or points \(2, 5, 2\)"),
        ("return [image]", "returns a list, not a tensor"),
        ("return image.expand(-1, 5, -1, -1) > 0", r"returns torch.bool values, not real numbers"),
        ("return image.expand(-1, 5, -1, -1) / 0 * 0", "returns values that are not finite"),
        ("return image.reshape(3, 7)", r"raised RuntimeError: .*nets_of_a_user_\d+.py, line 6\).* for images"),
    ],
)
def test_check_output_of_what_is_no_prediction_says_so(write_module: WriteModule, body: str, problem: str) -> None:
    name = write_module(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_points, input_px, in_channels):\n"
        "        super().__init__()\n"
        "    def forward(self, image):\n"
        f"        {body}\n"
    )
    with pytest.raises(TargetError, match=problem):
        check_output(build(name, "Net"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("Net = 3", "is not a class derived from torch.nn.Module"),
        ("class Net: pass", "is not a class derived from torch.nn.Module"),
        (
            "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, num_points): super().__init__()",
            r"Net\(num_points\) cannot be called with num_points, input_px, in_channels, width: got an unexpected",
        ),
        (
            "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, **options):\n        1 / 0",
            r"Net\(num_points=5, input_px=40, in_channels=1, width=2\) raised ZeroDivisionError",
        ),
    ],
)
def test_build_of_what_is_no_network_says_so(write_module: WriteModule, source: str, problem: str) -> None:
    name = write_module(source)
    with pytest.raises(TargetError, match=problem):
        build(name, "Net", width=2)
