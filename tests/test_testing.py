"""The contract test that users call for their own networks."""

from __future__ import annotations

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.testing import check_network
from tests.support.networks import TINY, WriteModule


def test_check_network_of_a_good_one_reports_its_output(write_module: WriteModule) -> None:
    name = write_module(TINY)
    report = check_network(f"{name}:Tiny", num_points=7, input_px=48, in_channels=3, args={"width": 4})
    assert (report.output, report.unused) == ("logits 12×12", ())
    assert report.num_parameters == 4 * 27 + 4 + 8 + 7 * 4 * 9 + 7
    assert check_network(f"{name}:Points", input_px=40).output == "points"


BROKEN = {
    "self.conv.weight.data.normal_(generator=rng)": (
        "rng = torch.Generator()\nrng.seed()",
        "self.conv(image)",
        "two networks of one seed have other weights",
    ),
    "self.factor = torch.rand(()).item()": ("", "self.conv(image) * self.factor", "keep all that it needs in param"),
    "self.norm = 1": ("", "self.conv(image) - self.conv(image).mean()", "depends on the others of its batch"),
    "self.detached = 1": ("", "self.conv(image).detach()", "the output depends on no parameter"),
    "self.norm = nn.BatchNorm1d(3)": (
        "",
        "self.conv(image) + self.norm(image.mean((2, 3)).repeat(1, 3))[:, :1, None, None]",
        "a last batch may have one image: raised ValueError: Expected more than 1 value per channel",
    ),
}


@pytest.mark.parametrize("line", BROKEN)
def test_check_network_says_what_is_wrong(write_module: WriteModule, line: str) -> None:
    top, forward, problem = BROKEN[line]
    name = write_module(
        f"import torch\nfrom torch import nn\n{top}\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_points, input_px, in_channels):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(in_channels, num_points, 3, padding=1)\n"
        f"        {line}\n"
        "    def forward(self, image):\n"
        f"        return {forward}\n"
    )
    with pytest.raises(RcnSearchError, match="does not meet the contract") as raised:
        check_network(f"{name}:Net", input_px=40)
    assert problem in str(raised.value)


def test_check_network_of_the_wrong_shape_stops_there() -> None:
    with pytest.raises(RcnSearchError, match="cannot be called with num_points"):
        check_network("torch.nn:Conv2d")
