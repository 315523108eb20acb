"""Files of cluster/ against the schemas of what reads them, and against the package that they start."""

from __future__ import annotations

import copy
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.providers import _get_node_provider_cls
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.conftest import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.34"


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def kuberay_schema() -> Any:
    return yaml.safe_load((SCHEMAS / "kuberay.yaml").read_text())


def cluster_spec(name: str) -> Any:
    spec = load(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def groups(spec: Any) -> Iterator[Any]:
    yield spec["headGroupSpec"]
    yield from spec["workerGroupSpecs"]


KUBERAY_FILES = ("kuberay-cluster.yaml", "kuberay-job.yaml")


def autoscaling_config(name: str) -> Any:
    custom = {"metadata": {"name": "rcn-search", "namespace": "default"}, "spec": cluster_spec(name)}
    return _derive_autoscaling_config_from_ray_cr(custom)


def test_cluster_folder_has_no_unchecked_yaml():
    assert {path.name for path in CLUSTER.glob("*.yaml")} == {"aws.yaml", "compose.yaml", "job.yaml", *KUBERAY_FILES}


@pytest.mark.parametrize("name", KUBERAY_FILES)
def test_kuberay_file_is_valid(name):
    jsonschema.validate(load(name), kuberay_schema())
    spec = cluster_spec(name)
    assert spec["rayVersion"] == ray.__version__
    for group in groups(spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", KUBERAY_FILES)
def test_kuberay_groups_are_read_by_the_autoscaler(name):
    """Ray's own parser of a RayCluster, which also needs what the operator adds."""
    config = autoscaling_config(name)
    jsonschema.validate(config["max_workers"], {"const": 8})
    head, worker = (config["available_node_types"][kind] for kind in (config["head_node_type"], "gpu"))
    assert head["resources"]["CPU"] == 0
    assert (worker["min_workers"], worker["max_workers"]) == (1, 8)
    assert (worker["resources"]["CPU"], worker["resources"]["GPU"]) == (8, 1)


def test_kuberay_files_describe_the_same_cluster():
    assert cluster_spec("kuberay-cluster.yaml") == cluster_spec("kuberay-job.yaml")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda spec: spec.update(rayverison="2.60.0"),
        lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec["workerGroupSpecs"][0].pop("maxReplicas"),
        lambda spec: spec["workerGroupSpecs"][0].update(minReplicas=-1),
    ],
)
def test_kuberay_schema_rejects_mistakes(break_it):
    document = copy.deepcopy(load("kuberay-cluster.yaml"))
    break_it(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, kuberay_schema())


def test_aws_file_is_valid():
    config = load("aws.yaml")
    validate_config(prepare_config(copy.deepcopy(config)))  # in the order of `ray up`
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["node_config"].get("InstanceMarketOptions") is None
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "--gpus all" in config["docker"]["worker_run_options"]  # the image asks for none by its environment
    assert sum(each.get("max_workers", 0) for each in types.values()) <= config["max_workers"]
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**copy.deepcopy(config), "max_wrokers": 8}))


def test_aws_file_leaves_nothing_for_the_launcher_to_fill_in():
    """By default it adds a machine image with CUDA 11.2, and commands that install the newest versions."""
    from ray.autoscaler._private.aws.config import _check_ami, get_log_state

    config = prepare_config(load("aws.yaml"))
    _check_ami(config)
    assert set(get_log_state()["ami_src"].values()) == {"config"}
    assert not any(config[f"{node}setup_commands"] for node in ("", "head_", "worker_"))


def installed_with(requirement: Requirement) -> set[str]:
    """Names of a package and of all its requirements; those of this project are read from pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    seen, todo = set(), [requirement]
    while todo:
        name, extras = canonicalize_name(todo[-1].name), frozenset(todo.pop().extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name == project["name"]:
            lines = project["dependencies"] + [
                line for extra in extras for line in project["optional-dependencies"][extra]
            ]
        else:
            lines = metadata.requires(name) or []
        needed = [Requirement(line) for line in lines]
        environments: list[dict[str, str]] = [{"extra": extra} for extra in ("", *extras)]
        todo += [each for each in needed if not each.marker or any(map(each.marker.evaluate, environments))]
    return {name for name, _ in seen}


@pytest.mark.parametrize("name", ["aws.yaml", *KUBERAY_FILES])
def test_image_has_the_packages_of_node_providers(name, monkeypatch):
    """Ray does not require what its node providers import; requirements of the tests must not hide that."""
    provider = load(name)["provider"] if name == "aws.yaml" else autoscaling_config(name)["provider"]
    [extras] = re.findall(r"--editable '?\.(\[\w+\])?", (CLUSTER / "Dockerfile").read_text())
    installed = installed_with(Requirement(f"rcn-search{extras}"))
    with monkeypatch.context() as image:
        for module, packages in metadata.packages_distributions().items():
            if not installed & set(map(canonicalize_name, packages)):
                image.setitem(sys.modules, module, None)  # cannot be imported
        assert callable(_get_node_provider_cls(provider))


def test_compose_file_is_valid():
    document = load("compose.yaml")
    # Its own $schema, "…/2019-09/schema#", is not quite the name of that draft.
    schema = jsonschema.Draft201909Validator(json.loads((SCHEMAS / "compose_spec.json").read_text()))
    schema.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        schema.validate({**document, "services": {"head": {"imgae": "rcn-search"}}})
    services = document["services"]
    for name, service in services.items():
        assert service.get("depends_on", {}).keys() <= services.keys()
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} listens to other machines"
    build = services["head"]["build"]
    assert (CLUSTER / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).is_file()


def test_job_file_is_a_runtime_environment():
    from ray.runtime_env import RuntimeEnv

    document = load("job.yaml")
    assert RuntimeEnv(**{**document, "working_dir": str(REPOSITORY)})["env_vars"] == document["env_vars"]


def tune_commands() -> list[str]:
    """Every command line with ``rcn_search.tune`` in the files."""
    texts = [load("kuberay-job.yaml")["spec"]["entrypoint"], load("compose.yaml")["services"]["search"]["command"][-1]]
    texts += [(CLUSTER / "README.md").read_text(), (REPOSITORY / "docs/how-to/run-on-a-cluster.md").read_text()]
    joined = (re.sub(r"\\\n\s*", " ", text) for text in texts)
    return [line for text in joined for line in re.findall(r"rcn_search\.tune (\S[^\n`]*)", text)]


def test_tune_commands_have_known_options_and_files():
    """Options and study files exist."""
    import typer

    from rcn_search.cli.tune import tune_command

    app = typer.Typer()
    app.command()(tune_command)
    known = {option for each in typer.main.get_command(app).params for option in each.opts}
    lines = tune_commands()
    assert len(lines) >= 5
    for line in lines:
        space, *words = shlex.split(line, comments=True)
        assert (REPOSITORY / space.removeprefix("/app/")).is_file(), line
        assert {word for word in words if word.startswith("--")} <= known, line


def test_dockerfile_copies_only_what_the_context_has():
    parser = DockerfileParser(str(CLUSTER / "Dockerfile"), cache_content=True)
    steps = [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]
    assert steps[0][0] == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", parser.baseimage)
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    assert {instruction for instruction, _ in steps} <= known
    assert [value for instruction, value in steps if instruction == "USER"][-1] == "ray"
    installs = [value for instruction, value in steps if instruction == "RUN" and "pip install" in value]
    assert all("--constraint constraints.txt" in value for value in installs)
    [programs] = [value for instruction, value in steps if instruction == "RUN" and "apt-get install" in value]
    assert {"openssh-client", "rsync", "wget"} <= set(programs.split())  # no test runs what calls them
    assert not any(word in (CLUSTER / "Dockerfile").read_text() for word in ("SECRET", "PASSWORD", "ARG "))

    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for instruction, value in steps
        if instruction == "COPY"
        for source in [word for word in value.split() if not word.startswith("--")][:-1]
    }
    assert copied == let_in, "the image copies what the context has, and no more"
    assert all((REPOSITORY / source).exists() for source in copied)
