"""dvc.yaml knows all that its stages depend on: else a change would be missed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .. import features, params, tables

ROOT = Path(__file__).parents[3]
PACKAGE = features.__name__.rpartition(".")[0]
# they change no output; parameters are named one by one
SHARED = {"__init__", "errors", "params", "stage"}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text().replace("${package}", PACKAGE))["stages"]
LISTING = """
import importlib, sys
importlib.import_module(sys.argv[1])
package = sys.argv[1].split(".")[0]
print(*(name.split(".")[1] for name in sys.modules if name.startswith(f"{package}.")))
"""


@pytest.mark.parametrize("name", STAGES)
def test_every_module_that_a_stage_imports_is_a_dependency(name):
    command = [sys.executable, "-c", LISTING, f"{PACKAGE}.{name}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    modules = set(output.split()) - SHARED
    dependencies = {dep.rsplit("/", 1)[-1] for dep in STAGES[name]["deps"]}
    assert {f"{module}.py" for module in modules} <= dependencies


def test_training_runs_again_for_each_of_its_parameters_but_the_tracker():
    named = {f"train.{name}" for name in params.Train.model_fields} - {"train.tracker"}
    assert named == {name for name in STAGES["train"]["params"] if name.startswith("train")}


def test_a_dependency_is_in_git_or_exactly_an_output():
    outputs = set()
    for stage in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                outputs.add(out if isinstance(out, str) else next(iter(out)))
    for stage in STAGES.values():
        for dep in stage["deps"]:
            assert dep in outputs or (ROOT / dep).exists(), dep
            assert dep in outputs or not any(dep.startswith(f"{out}/") for out in outputs), dep


def test_the_paths_in_code_are_the_outputs_in_dvc_yaml():
    named = {str(tables.OFFLINE), str(features.ONLINE)}
    assert named == set(STAGES["features"]["outs"])
    assert list(STAGES["collect"]["outs"][0]) == [str(tables.RAW)]
