from __future__ import annotations

import ast
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import rcn_search
from rcn_search.config.schema import TrainConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import Network
from rcn_search.training.checkpoint import (
    SCHEMA_VERSION,
    CheckpointError,
    CheckpointInfo,
    load_network,
    load_optimizers,
    network_tensors,
    optimizer_tensors,
    read_checkpoint,
)
from rcn_search.training.optim import build_optimizers
from tests.support.checkpoints import write_checkpoint


@pytest.fixture
def network(tiny_config: TrainConfig) -> Network:
    return build_model(tiny_config.model, num_points=5, seed=1)


@pytest.fixture
def info(tiny_config: TrainConfig) -> CheckpointInfo:
    return CheckpointInfo(
        kind="weights",
        config=tiny_config,
        keypoints="five",
        data_fingerprint="0123456789abcdef",
        epoch=2,
        val_error_pct=12.5,
        train_s=1.5,
        state={"steps_done": 6},
    )


@pytest.fixture
def path(tmp_path: Path, info: CheckpointInfo, network: Network) -> Path:
    """A good checkpoint."""
    path = tmp_path / "best.safetensors"
    write_checkpoint(str(path), info, network_tensors(network))
    return path


def rewrite_header(path: Path, **changes: object) -> None:
    """Change fields of the JSON in the header; None removes one."""
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as stream:
        document = json.loads(stream.metadata()["rcn_search"])
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    safetensors.torch.save_file(tensors, path, {"rcn_search": json.dumps(document)})


# Key of schema version 2 -> key of version 1.
OLD_KEYS = {
    "model": {"name": "kind", "layer_preset": "layers"},
    "input": {"color": "colour", "contrast_normalization": "lcn"},
    "loss": {"name": "head", "points_outside": "outside"},
    "optimizer": {"l2_encoder": "l2_trunk", "l2_branches": "l2_branch"},
    "schedule": {"lr_schedule": "shape", "warmup_fraction": "warmup"},
    "validation": {"augment": "jitter", "every_epochs": "every", "save": "keep"},
    "data": {"balance_by": "balance"},
}


def test_read_checkpoint_of_schema_version_1_upgrades_its_configuration(
    path: Path, network: Network, info: CheckpointInfo
) -> None:
    config = info.model_dump(mode="json")["config"]
    for section, names in OLD_KEYS.items():
        config[section] = {names.get(key, key): value for key, value in config[section].items()}
    config["loss"]["head"] = "softmax"
    rewrite_header(path, schema_version=1, config=config)
    back, info_back = load_network(str(path))
    assert info_back == info
    image = torch.rand(2, 1, 80, 80)
    assert torch.equal(back(image), network.eval()(image))


def test_load_network_restores_weights_and_info(path: Path, network: Network, info: CheckpointInfo) -> None:
    back, info_back = load_network(str(path))
    assert info_back == info
    assert not back.training
    image = torch.rand(2, 1, 80, 80)
    assert torch.equal(back(image), network.eval()(image))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_load_optimizers_restores_state_in_the_memory_format_of_weights(
    path: Path, info: CheckpointInfo, name: str, memory_format: torch.memory_format
) -> None:
    options = info.config.optimizer.model_copy(update={"name": name})
    model = info.config.model.model_copy(update={"channels": 16})

    def stepped(through_file: bool) -> Network:
        network = build_model(model, num_points=5, seed=1).to_device("cpu", memory_format)
        optimizers = build_optimizers(network, options)
        for step in range(3):
            if step == 2 and through_file:
                write_checkpoint(str(path), info, optimizer_tensors(optimizers))
                optimizers = build_optimizers(network, options)
                load_optimizers(optimizers, read_checkpoint(str(path)).tensors)
            generator = torch.Generator().manual_seed(step)
            for parameter in network.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
            for optimizer in optimizers:
                optimizer.step()
        return network

    straight, resumed = stepped(False), stepped(True)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"branches": 2}, "branches.1.rest.0.bias has shape (8,); its configuration needs (5,)"),
        ({"channels": 4}, "branches.0.first.bias has shape (8,); its configuration needs (4,)"),
        (
            {"name": "sumnet", "branches": 3, "channels": 8},
            "branches.0.0.bias has shape none; its configuration needs (8,)",
        ),
        ({"name": "tcdcn"}, "branches.0.first.bias has shape (8,); "),
    ],
    ids=["branches", "channels", "sumnet", "tcdcn"],
)
def test_load_network_with_weights_of_another_model_is_refused(
    path: Path, info: CheckpointInfo, change: dict[str, object], problem: str
) -> None:
    config = info.model_dump(mode="json")["config"]
    model = change if "name" in change else config["model"] | change
    rewrite_header(path, config={**config, "model": model})
    with pytest.raises(CheckpointError, match=re.escape(f"{path} holds the weights of another model: {problem}")):
        load_network(str(path))


def test_load_network_with_another_number_of_points_is_refused(path: Path) -> None:
    rewrite_header(path, keypoints="ibug68")
    problem = f"{path} holds the weights of another model: branches.2.rest.0.bias has shape (5,); "
    with pytest.raises(CheckpointError, match=re.escape(problem + "its configuration needs (68,)")):
        load_network(str(path))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1, "config": {"new": 1}},
            "it is of version 3; this rcn-search reads versions 1 and 2",
        ),
        ({"schema_version": None}, "it is of version None; this rcn-search reads versions 1 and 2"),
        ({"config": {"data": {"uri": "x"}, "zebra": 1}}, "zebra"),
        ({"epoch": None}, "epoch"),
    ],
)
def test_read_checkpoint_with_invalid_header_is_refused(path: Path, changes: dict[str, object], problem: str) -> None:
    rewrite_header(path, **changes)
    with pytest.raises(
        CheckpointError, match=rf"{path}: this rcn-search cannot read its configuration: (.|\n)*{problem}"
    ):
        read_checkpoint(str(path))


def test_read_checkpoint_of_missing_file_names_it(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.safetensors"):
        with pytest.raises(CheckpointError, match=f"no checkpoint at {path}"):
            read_checkpoint(str(path))


class Bomb:
    """Ends the process if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def write_foreign(path: Path) -> None:
    safetensors.torch.save_file({"model.trunk.0.weight": torch.zeros(1)}, path)


def write_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def write_torch(path: Path) -> None:
    torch.save({"weights": Bomb()}, path)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (write_foreign, "was not written by rcn-search: its header has no configuration"),
        (write_truncated, "is not a readable safetensors file"),
        (write_pickle, "is not a readable safetensors file"),
        (write_torch, "is not a readable safetensors file"),
        (lambda path: path.write_bytes(b""), "is not a readable safetensors file"),
    ],
    ids=["foreign", "truncated", "pickle", "torch.save", "empty"],
)
def test_read_checkpoint_of_other_files_is_refused(path: Path, write: Callable[[Path], object], problem: str) -> None:
    write(path)
    with pytest.raises(CheckpointError, match=f"{path} {problem}"):
        read_checkpoint(str(path))


def test_load_network_with_flipped_bit_in_header_is_refused_or_harmless(path: Path) -> None:
    content = path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    num_refused = 0
    for position in [*range(8), *range(8, header_end, 97)]:
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            load_network(str(path))
        except CheckpointError:
            num_refused += 1
    assert num_refused > 8


def test_package_never_unpickles() -> None:
    loaders = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for module in Path(rcn_search.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None)}
                assert not names & loaders, module
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), module
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert "allow_pickle=False" in map(ast.unparse, node.keywords), module
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", module
