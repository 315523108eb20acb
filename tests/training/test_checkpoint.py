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
from torch import Tensor

import rcn_search
from rcn_search.config.schema import DenoiserConfig, TrainConfig
from rcn_search.models import build_model
from rcn_search.models.blocks import Network
from rcn_search.training import checkpoint
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
                config = info.config.model_copy(update={"model": model})
                run = info.model_copy(update={"kind": "run", "config": config})
                write_checkpoint(str(path), run, {**network_tensors(network), **optimizer_tensors(optimizers)})
                optimizers = build_optimizers(network, options)
                load_optimizers(optimizers, read_checkpoint(str(path)).tensors, str(path))
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


def forge(path: Path, header: object, body: bytes = b"") -> None:
    """Write a file with any header."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + body)


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "its header is no mapping"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested too deeply"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(2_000_001)) + b"}", "is too large"),
        ({"a": 1}, "tensor 'a': input should be"),
        ({"a": {**TENSOR, "dtype": "X"}}, "of type X, which no checkpoint has"),
        ({"a": {**TENSOR, "shape": [-1]}}, "tensor 'a': shape.0 = -1"),
        ({"a": {**TENSOR, "shape": [True]}}, "tensor 'a': shape.0 = True"),
        ({"a": {**TENSOR, "shape": [2**50]}}, "tensor 'a': shape.0 = "),
        ({"a": {**TENSOR, "data_offsets": [0, 2**60]}}, "tensor 'a': data_offsets.1 = "),
        ({"a": {**TENSOR, "data_offsets": [8, 4]}}, "tensor 'a' of shape (2,) lies at bytes 8 to 4"),
        ({"__metadata__": 5}, "__metadata__ in its header is no mapping of texts"),
        ({"__metadata__": {"rcn_search": 5}}, "__metadata__ in its header is no mapping of texts"),
        ({"__metadata__": {"rcn_search": "[" * 100_000}}, "nested too deeply"),
        ({"__metadata__": {"rcn_search": "1" * 5_000}}, "is not valid JSON"),
        ({"__metadata__": {"rcn_search": "[]"}}, "it is of version None"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_read_checkpoint_with_a_hostile_header_is_refused(tmp_path: Path, header: object, problem: str) -> None:
    path = tmp_path / "best.safetensors"
    forge(path, header)
    with pytest.raises(CheckpointError, match=re.escape(problem)) as raised:
        read_checkpoint(str(path))
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value)) < 500


def test_read_checkpoint_with_a_header_beyond_the_bound_or_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    for size, problem in [(2**62, "at most 33,554,432 are read"), (10**6, "it ends within its header")]:
        path.write_bytes(size.to_bytes(8, "little") + b"{}")
        with pytest.raises(CheckpointError, match=problem):
            read_checkpoint(str(path))


def test_read_checkpoint_of_a_huge_network_without_weights_is_refused_before_it_is_built(
    path: Path, info: CheckpointInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = DenoiserConfig(name="denoiser", kernel_px=79, channels=256)
    config = info.config.model_copy(update={"model": denoiser})
    write_checkpoint(str(path), info.model_copy(update={"config": config}), {})
    monkeypatch.setattr(checkpoint, "build_model", None)  # which takes the memory for the weights
    with pytest.raises(CheckpointError, match=r"has shape none; its configuration needs \("):
        load_network(str(path))
    assert path.stat().st_size < 2_500


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda weight: weight.to(torch.int64), "is of type torch.int64, not torch.float32"),
        (lambda weight: weight.half(), "is of type torch.float16, not torch.float32"),
        (lambda weight: torch.full_like(weight, torch.nan), "holds values that are not finite"),
        (lambda weight: torch.full_like(weight, torch.inf), "holds values that are not finite"),
    ],
    ids=["int64", "float16", "nan", "inf"],
)
def test_read_checkpoint_with_weights_of_another_type_or_not_finite_is_refused(
    path: Path, info: CheckpointInfo, network: Network, change: Callable[[Tensor], Tensor], problem: str
) -> None:
    tensors = network_tensors(network)
    name = next(iter(tensors))
    write_checkpoint(str(path), info, {**tensors, name: change(tensors[name])})
    with pytest.raises(CheckpointError, match=problem):
        load_network(str(path))


def test_read_checkpoint_with_foreign_tensors_is_refused(path: Path, info: CheckpointInfo, network: Network) -> None:
    more = {**network_tensors(network), "extra": torch.zeros(3)}
    write_checkpoint(str(path), info, more)
    with pytest.raises(CheckpointError, match=r"extra has shape \(3,\); its configuration needs none"):
        load_network(str(path))
    write_checkpoint(str(path), info.model_copy(update={"kind": "run"}), {**more, "extra": torch.zeros(10**7)})
    with pytest.raises(CheckpointError, match="a run of this network has at most 8 times its weights"):
        load_network(str(path))


def test_read_checkpoint_with_more_bytes_than_its_header_names_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(CheckpointError, match="it has more than the"):
        load_network(str(path))


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("optim.9.0.momentum", torch.zeros(1), "there is no place for 'optim.9.0.momentum'"),
        ("optim.0.999.momentum", torch.zeros(1), "there is no place for 'optim.0.999.momentum'"),
        ("optim.x", torch.zeros(1), "there is no place for 'optim.x'"),
        ("optim.0.0.momentum", torch.zeros(3, 3), r"has shape \(3, 3\), not"),
    ],
)
def test_load_optimizers_of_other_optimizers_is_refused(
    network: Network, info: CheckpointInfo, name: str, tensor: Tensor, problem: str
) -> None:
    with pytest.raises(CheckpointError, match=problem):
        load_optimizers(build_optimizers(network, info.config.optimizer), {name: tensor}, "last.safetensors")


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
