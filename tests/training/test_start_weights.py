from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.training.checkpoint import CheckpointError, load_network, read_checkpoint
from rcn_search.training.exit_status import BEST_NAME, LAST_NAME, Interrupted
from rcn_search.training.optim import LR_SCALE, build_optimizers, layer_lr_scales
from rcn_search.training.start_weights import read_start_weights, with_weights_hash
from rcn_search.training.trainer import Trainer
from tests.support.checkpoints import checkpoint_info, write_checkpoint, write_untrained


def starting(config: TrainConfig, weights: str, **changes: Any) -> TrainConfig:
    document = config.model_dump() | changes
    return TrainConfig.model_validate(document | {"init": weights})


@pytest.fixture
def weights(tiny_config: TrainConfig, tmp_path: Path) -> str:
    """Untrained weights for five points, with a seed of their own."""
    return write_untrained(tiny_config, tmp_path, seed=7)


def test_start_from_weights_of_the_same_points_copies_all(tiny_config: TrainConfig, weights: str) -> None:
    start = read_start_weights(starting(tiny_config, weights), FIVE)
    network = build_model(tiny_config.model, num_points=5, seed=0)
    start.copy_into(network)
    assert start.new_names == frozenset()
    assert all(
        torch.equal(value, load_network(weights)[0].state_dict()[k]) for k, value in network.state_dict().items()
    )
    assert str(start).endswith("; all tensors copied")


@pytest.mark.parametrize(
    ("model", "new"),
    [
        ({"name": "rcn", "branches": 3, "channels": 8}, ["branches.2.rest.0.bias", "branches.2.rest.0.weight"]),
        ({"name": "tcdcn"}, ["points.bias", "points.weight"]),
        ({"name": "sumnet", "branches": 1, "channels": 8}, ["branches.0.2.bias", "branches.0.2.weight", "weights"]),
    ],
    ids=["rcn", "tcdcn", "sumnet"],
)
def test_start_from_weights_of_other_points_has_a_new_head(
    tiny_config: TrainConfig, tmp_path: Path, model: dict[str, object], new: list[str]
) -> None:
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"model": model})
    uri = write_untrained(config, tmp_path, "ibug68", seed=7)
    start = read_start_weights(starting(config, uri), FIVE)
    theirs, random = load_network(uri)[0].state_dict(), build_model(config.model, num_points=5, seed=0).state_dict()
    network = build_model(config.model, num_points=5, seed=0)
    start.copy_into(network)
    assert sorted(start.new_names) == new
    for name, value in network.state_dict().items():
        assert torch.equal(value, (random if name in new else theirs)[name]), name
    assert f"new: {', '.join(start.history[0].new)}; the others copied" in str(start)


def test_head_of_as_many_other_points_is_new(tiny_config: TrainConfig, tmp_path: Path, weights: str) -> None:
    renamed = FIVE.__class__(**{**FIVE.__dict__, "names": tuple(f"other_{name}" for name in FIVE.names)})
    assert len(read_start_weights(starting(tiny_config, weights), renamed).new_names) == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": {"name": "rcn", "branches": 4, "channels": 8}}, r"of another network: .*model.branches: 3 → 4"),
        ({"input": {"color": True}}, r"trunk.0.weight has shape \(8, 1, 3, 3\) there and \(8, 3, 3, 3\) here"),
        ({"model": {"name": "tcdcn"}}, "model.name: rcn → tcdcn"),
    ],
)
def test_start_from_weights_of_another_network_is_refused(
    tiny_config: TrainConfig, weights: str, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CheckpointError, match=problem):
        read_start_weights(starting(tiny_config, weights, **changes), FIVE)
    with pytest.raises(CheckpointError, match=r"no checkpoint at nowhere/best\.safetensors"):
        read_start_weights(starting(tiny_config, "nowhere"), FIVE)


def test_run_that_starts_from_weights_says_so_and_is_resumed_bit_identically(
    tiny_config: TrainConfig, weights: str, tmp_path: Path
) -> None:
    config = with_weights_hash(starting(tiny_config, weights))
    straight = Trainer(config, str(tmp_path / "straight"))
    straight.train()
    steps = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        Trainer(config, str(tmp_path / "resumed"), should_stop=lambda: next(steps, True)).train()
    Path(weights).unlink()  # a resumed run has them in its own
    Trainer(config, str(tmp_path / "resumed"), resume=True).train()
    first, second = (read_checkpoint(str(tmp_path / name / LAST_NAME)) for name in ("straight", "resumed"))
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    for info in (first.info, second.info):
        (record,) = info.start_history
        assert (record.weights, record.keypoints, record.data_fingerprint) == (weights, "five", "f")
        assert record.sha256 == config.init.sha256
    assert first.info.data_license


def test_history_goes_back_to_the_first_weights_with_their_license(
    tiny_config: TrainConfig, tmp_path: Path, weights: str
) -> None:
    network, _ = load_network(weights)
    from rcn_search.training.checkpoint import network_tensors

    info = checkpoint_info(tiny_config, "five", data_license="research only")
    write_checkpoint(weights, info, network_tensors(network))
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"schedule": {"epochs": 1, "batch_size": 32}})
    Trainer(starting(config, weights), str(tmp_path / "first")).train()
    Trainer(starting(config, str(tmp_path / "first")), str(tmp_path / "second")).train()
    history = read_checkpoint(str(tmp_path / "second" / BEST_NAME)).info.start_history
    assert [record.weights for record in history] == [str(tmp_path / "first"), weights]
    assert history[1].data_license == "research only"


def test_run_id_is_that_of_the_weights_and_not_of_their_place(tiny_config: TrainConfig, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        write_untrained(tiny_config, tmp_path / name, seed=seed)
    a, b, c = (with_weights_hash(starting(tiny_config, str(tmp_path / name))) for name in "abc")
    assert a.run_id == b.run_id
    assert len({a.run_id, c.run_id, tiny_config.run_id}) == 3
    unresolved = starting(tiny_config, str(tmp_path / "a")), starting(tiny_config, str(tmp_path / "c"))
    assert unresolved[0].run_id != unresolved[1].run_id
    other = a.model_copy(update={"init": a.init.model_copy(update={"weights": str(tmp_path / "c")})})
    with pytest.raises(RcnSearchError, match="holds other weights"):
        read_start_weights(other, FIVE)


def test_layer_lr_decay_lowers_the_rate_of_early_layers(tiny_config: TrainConfig) -> None:
    network = build_model(tiny_config.model, num_points=5)
    names = [name for name, _ in network.named_parameters()]
    scales = layer_lr_scales(network, 0.5, {names[0]})
    assert scales[names[0]] == 1.0
    assert scales[names[1]] == 0.5 ** (len(names) // 2 - 1)
    assert (scales[names[2]], scales[names[-1]]) == (0.5 ** (len(names) // 2 - 2), 1.0)
    by_id = {id(parameter): scales[name] for name, parameter in network.named_parameters()}
    optimizers = build_optimizers(network, tiny_config.optimizer.model_copy(update={"name": "adamw"}), scales)
    seen = [(id(p), group[LR_SCALE]) for group in optimizers[0].param_groups for p in group["params"]]
    assert len(seen) == len(names)
    assert all(by_id[key] == scale for key, scale in seen)


def test_layer_lr_decay_changes_what_is_learned_and_1_does_not(
    tiny_config: TrainConfig, weights: str, tmp_path: Path
) -> None:
    def trained(name: str, decay: float) -> dict[str, torch.Tensor]:
        init = {"weights": weights, "layer_lr_decay": decay}
        Trainer(TrainConfig.model_validate(tiny_config.model_dump() | {"init": init}), str(tmp_path / name)).train()
        return read_checkpoint(str(tmp_path / name / LAST_NAME)).tensors

    before = read_checkpoint(weights).tensors["model.trunk.0.weight"]
    full, slow = (trained(str(decay), decay)["model.trunk.0.weight"] for decay in (1.0, 0.1))
    assert (slow - before).norm() < 0.1 * (full - before).norm()
