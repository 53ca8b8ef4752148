"""Rankings per CPU second beside MLflow's and BentoML's model servers, with the same model.

`python benchmarks/rivals.py PROJECT` takes a default project that is reproduced, and needs wrk.
Each rival gets an environment of its own in a temporary folder, one worker, and the twenty rows of
a player ready made: what our service does besides (look up, sort, explain, write down) is not asked
of it. CPU is that of a server and all processes that it started; ratios are medians of rounds.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import serving
from load import ASK, PORT, running, send
from serving import RANK, world

SECONDS, ROUNDS, INPUTS = 5, 3, 18
ROWS = [[float(column % 3)] * INPUTS for column in range(serving.ACTIONS)]
BODY = json.dumps({"inputs": ROWS})
LUA = """
wrk.method, wrk.path, wrk.body = "POST", "{path}", [=[{body}]=]
wrk.headers["content-type"] = "application/json"
"""
SAVE = f"""
import mlflow, numpy as np, onnx
from mlflow.models import infer_signature
rows = np.zeros(({serving.ACTIONS}, {INPUTS}), np.float32)
signature = infer_signature(rows, rows[:, :1])
mlflow.onnx.save_model(onnx.load("models/model.onnx"), "mlflow-model", signature=signature)
"""
SERVICE = """
import bentoml, numpy as np, onnxruntime
@bentoml.service(workers=1, traffic={"timeout": 60})
class Ranker:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("models/model.onnx", options)
    @bentoml.api
    async def rank(self, inputs: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"inputs": inputs.astype(np.float32)})[0]
"""
MLFLOW = "mlflow models serve --model-uri mlflow-model --env-manager local --host 127.0.0.1"
RIVALS = {
    "mlflow": (["mlflow", "onnx", "onnxruntime"], f"{MLFLOW} --port {PORT}", "/invocations"),
    "bentoml": (
        ["bentoml", "onnxruntime"],
        f"bentoml serve service:Ranker --host 127.0.0.1 --port {PORT}",
        "/rank",
    ),
}


def install(name: str, packages: list[str]) -> Path | None:
    """Make an environment; the folder of its programs, or None if the packages do not install."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, name], check=True)
    programs = Path(name, "bin").resolve()
    command = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", name, *packages]
    return None if subprocess.run(command).returncode else programs


def measure(command: list[str | Path], path: str, body: str) -> float:
    """CPU microseconds of a ranking."""
    with running(command, path, body) as pid:
        send(pid, 2)
        microseconds, _, _, failed = send(pid, SECONDS)
    if failed:
        raise SystemExit(f"{command}: {failed} requests failed")
    return microseconds


def compare(name: str, python: Path) -> None:
    """Print a rival beside our service."""
    packages, words, path = RIVALS[name]
    if (programs := install(name, packages)) is None:
        print(f"{name} does not install here, so it is not compared")
        return
    if name == "mlflow":
        subprocess.run([programs / "python", "-c", SAVE], check=True, capture_output=True)
    program, *arguments = words.split()
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    pairs = []
    for _ in range(ROUNDS):
        ASK.write_text(serving.LUA)
        ours = measure([python, *RANK], "/rank", '{"player_id": 1}')
        ASK.write_text(LUA.format(path=path, body=BODY))
        pairs.append((ours, measure([programs / program, *arguments], path, BODY)))
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    print(f"{name}: {theirs:.0f} µs of CPU a ranking, ours {ours:.0f}: {ratio:.1f} (at least 5)")


def main() -> None:
    """Compare in the large world."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "true"}
    with world(Path(sys.argv[1])) as python:
        Path("service.py").write_text(SERVICE)
        for name in RIVALS:
            compare(name, python)


if __name__ == "__main__":
    main()
