"""README's RayJob manifest against what KubeRay's CRD asks of its fields, and its command against ours."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError, validate

from coconut import cli, options

README = Path(__file__).parent.parent / "README.md"


def only(required, **properties):
    """An object of these fields alone: a server that validates strictly refuses others."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, COUNT, SWITCH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["integer", "string"]}}
CONTAINER = only(["name"], name=TEXT, image=TEXT, resources=only([], limits=QUANTITIES, requests=QUANTITIES))
PODS = only([], spec=only(["containers"], serviceAccountName=TEXT, containers={"type": "array", "items": CONTAINER}))
PARAMS = {"type": "object", "additionalProperties": TEXT}
WORKERS = only(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName=TEXT, minReplicas=COUNT, maxReplicas=COUNT, replicas=COUNT, rayStartParams=PARAMS, template=PODS,
)  # fmt: skip
CLUSTER = only(
    ["headGroupSpec"], rayVersion=TEXT, enableInTreeAutoscaling=SWITCH,
    headGroupSpec=only(["rayStartParams", "template"], rayStartParams=PARAMS, template=PODS),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)  # fmt: skip
SPEC = only([], entrypoint=TEXT, shutdownAfterJobFinishes=SWITCH, rayClusterSpec=CLUSTER)
# The fields used here of rayjobs.ray.io, version v1, by KubeRay 1.3, which asks for more of them than later ones do.
RAYJOB = only(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata=only(["name"], name=TEXT), spec=SPEC,
)  # fmt: skip


@pytest.fixture
def manifest():
    (found,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    return yaml.safe_load(found)


def test_the_manifest_has_the_fields_that_kuberay_asks_for_and_no_others(manifest):
    validate(manifest, RAYJOB)
    del manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]
    with pytest.raises(ValidationError, match="'maxReplicas' is a required property"):
        validate(manifest, RAYJOB)


def test_its_head_takes_no_trial_and_a_worker_has_the_gpu_that_trials_share(manifest):
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert container["image"] == head["image"]  # the same Python and the same packages
    assert (group["minReplicas"], cluster["enableInTreeAutoscaling"]) == (0, True)
    assert f"ray[default,tune]=={cluster['rayVersion']}" in (README.parent / "cluster.yaml").read_text(encoding="utf-8")


def test_its_entrypoint_is_a_command_of_ours(manifest):
    program, *words = shlex.split(manifest["spec"]["entrypoint"])
    assert program == "coconut"
    args = options.parse(cli._parser(options.model_of(words)), words)
    assert (args.address, args.gpus_per_trial, args.trials) == ("auto", 0.25, 128)
    assert args.storage.startswith("s3://")
    assert args.tracking_uri.startswith("http://")  # the head's own disk goes with it
