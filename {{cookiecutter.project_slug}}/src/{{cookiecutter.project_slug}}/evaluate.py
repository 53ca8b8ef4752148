"""Stage evaluate: judge the served model on the newest examples, an interval on every figure."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

from . import drift, examples, model, params, policy, schema, stage, tracking
from .contract import TASK
from .drift import Distribution, Reference
from .examples import Examples
from .params import Evaluate
from .policy import ratio
from .stage import StageError, progress, replacing

METRICS = Path("reports/metrics.json")
PLOTS = Path("reports/plots")
BINS = 10


def main() -> None:
    """Write reports/metrics.json, reports/reference.json and reports/plots/*.csv."""
    parameters = params.load()
    server = tracking.server() if parameters.train.tracker == "mlflow" else None
    _, holdout = examples.read(parameters.engine).split(parameters.train.holdout)
    try:
        served, baseline = model.Model.open(), model.open_baseline()
    except (OSError, ValueError) as error:
        raise StageError(f"models/ cannot be read ({error}): `dvc repro` makes it again") from None
    predicted = served.predict(holdout.inputs)
    terms = error_terms(holdout.target, predicted, baseline.predict(holdout.action_id))
    chosen: dict[str, np.ndarray] = {}
    if TASK.choice:
        ranking = policy.rank(served, baseline, holdout)
        chosen = policy.choose(ranking[:, 0], baseline, holdout)
        terms |= policy.terms(chosen, holdout)
        terms |= policy.order_terms(policy.places(ranking, holdout), holdout)
    metrics = measure(terms, holdout, parameters.evaluate)
    with replacing(METRICS) as new:
        new.write_text(json.dumps(metrics, indent=1) + "\n")
    with replacing(drift.REFERENCE) as new:
        new.write_text(reference(served, baseline, holdout).dump())
    with replacing(PLOTS) as folder:
        folder.mkdir()
        calibration(holdout.target, predicted).to_csv(folder / "calibration.csv", index=False)
        importance().to_csv(folder / "importance.csv", index=False)
        slices = by_slice(terms, holdout, parameters.evaluate)
        slices.to_csv(folder / "slices.csv", index=False, float_format="%.6g")
        if chosen:
            choices(chosen).to_csv(folder / "choices.csv", index=False)
    print(summary(metrics))
    if server:
        tracking.tell(server, metrics)


def error_terms(
    target: np.ndarray, predicted: np.ndarray, naive: np.ndarray
) -> dict[str, np.ndarray]:
    """Terms (n, j) of the errors of model and baseline; each metric is a function of their sums."""
    one, error, naive_error = np.ones(len(target)), predicted - target, naive - target
    return {
        "model_error": np.column_stack([one, error**2, np.abs(error)]),
        "baseline_error": np.column_stack([one, naive_error**2, np.abs(naive_error)]),
        "target": np.column_stack([one, target, target**2, predicted]),
    }


def measure(terms: dict[str, np.ndarray], holdout: Examples, evaluate: Evaluate) -> dict:
    """Every metric with its bootstrap interval; drawn are entities: their examples are alike."""
    widths = [term.shape[1] for term in terms.values()]
    stacked = np.column_stack(list(terms.values()))
    _, entity = np.unique(holdout.entity_id, return_inverse=True)
    sums = np.stack([np.bincount(entity, column) for column in stacked.T], axis=1)
    drawn = np.vstack([sums.sum(axis=0), resample(sums, evaluate)])
    parts = dict(zip(terms, np.split(drawn, np.cumsum(widths)[:-1], axis=1), strict=True))
    tail = (1 - evaluate.confidence) / 2

    def interval(figures: np.ndarray) -> dict[str, float | None]:
        known = figures[1:][np.isfinite(figures[1:])]
        ends = np.quantile(known, [tail, 1 - tail]) if len(known) else [np.nan, np.nan]
        return dict(zip(("value", "low", "high"), map(_round, [figures[0], *ends]), strict=True))

    metrics: dict = {"examples": len(holdout), "entities": len(sums)}
    metrics["error"] = {name: interval(figures) for name, figures in errors(parts).items()}
    if policy.MODEL in parts:
        metrics["policy"] = {name: interval(v) for name, v in policy_values(parts).items()}
    return metrics


def resample(sums: np.ndarray, evaluate: Evaluate) -> np.ndarray:
    """Bootstrap: sums (resamples, j) over entities (g, j) drawn with replacement."""
    random, count = np.random.default_rng(evaluate.seed), len(sums)
    drawn = np.empty((evaluate.resamples, sums.shape[1]))
    for row in progress(drawn, desc="bootstrap"):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        np.einsum("i,ij->j", times, sums, out=row)  # not @: its last bits depend on the machine
    return drawn


def errors(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Root mean squared and mean absolute error, explained variance, predicted over observed."""
    n, total, squares, predicted = parts["target"].T
    result = {}
    for name in ("model", "baseline"):
        _, squared, absolute = parts[f"{name}_error"].T
        result[f"{name}_rmse"] = np.sqrt(squared / n)
        result[f"{name}_mae"] = absolute / n
        result[f"{name}_r2"] = 1 - ratio(squared, squares - total**2 / n)
    result["predicted_over_observed"] = ratio(predicted, total)
    return result


def policy_values(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Value of each policy per example, the model's gains as shares, and how right its order is."""
    names = (policy.RANDOM, policy.BEST_SINGLE, policy.MODEL)
    values = {name: policy.value(parts[name]) for name in names}
    gains = {f"model_over_{n}": ratio(values[policy.MODEL], values[n]) - 1 for n in names[:2]}
    return values | gains | {"rank_correlation": policy.rank_correlation(parts[policy.ORDER])}


def by_slice(terms: dict[str, np.ndarray], holdout: Examples, evaluate: Evaluate) -> pd.DataFrame:
    """One row for each value of each slice column."""
    rows = []
    for column, values in holdout.slices.items():
        for kind in np.unique(values):
            mask = values == kind
            subset = {name: term[mask] for name, term in terms.items()}
            metrics = measure(subset, holdout.take(mask), evaluate)
            row = {"slice": f"{column}={kind}", "examples": metrics["examples"]}
            row["observed"] = holdout.target[mask].mean()
            row["predicted"] = subset["target"][:, 3].mean()
            for name, interval in (metrics["error"] | metrics.get("policy", {})).items():
                row |= {name: interval["value"]}
                row |= {f"{name}_{end}": interval[end] for end in ("low", "high")}
            rows.append(row)
    return pd.DataFrame(rows)


def calibration(target: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Mean prediction and mean outcome in bins of equally many examples."""
    bins = np.array_split(np.argsort(predicted, kind="stable"), min(BINS, len(target)))
    return pd.DataFrame(
        {
            "predicted": [_round(predicted[rows].mean()) for rows in bins],
            "observed": [_round(target[rows].mean()) for rows in bins],
            "examples": [len(rows) for rows in bins],
        }
    )


def importance(folder: Path = model.FOLDER) -> pd.DataFrame:
    """Share of the model's total gain by feature, largest first."""
    booster = xgboost.Booster(model_file=folder / "model.ubj")
    gain = booster.get_score(importance_type="total_gain")
    shares = [gain.get(f"f{i}", 0.0) for i in range(len(TASK.feature_names))]
    frame = pd.DataFrame({"feature": TASK.feature_names, "share": shares})
    frame["share"] = (frame["share"] / max(frame["share"].sum(), 1e-12)).map(_round)
    return frame.sort_values(["share", "feature"], ascending=[False, True])


def reference(served: model.Model, baseline: model.Baseline, holdout: Examples) -> Reference:
    """What the monitor compares with: inputs of the service, and its highest prediction."""
    entities = holdout.inputs[:, : len(TASK.features.model_fields)]
    predicted = served.predict(holdout.inputs)
    if TASK.choice:
        predicted = served.predict_all(entities, baseline.inputs).max(axis=1)
    named = zip(schema.encoding(TASK.features).items(), entities.T, strict=True)
    found = {name: Distribution.of(column, len(options)) for (name, options), column in named}
    found[drift.PREDICTION] = Distribution.of(predicted)
    _, rows = np.unique(holdout.entity_id, return_counts=True)
    return Reference(model.digest(model.FOLDER / model.ONNX), drift.effective(rows), found)


def choices(chosen: dict[str, np.ndarray]) -> pd.DataFrame:
    """How often each policy shows each action, as a share."""
    shares = {
        name: pd.Series(actions).value_counts(normalize=True) for name, actions in chosen.items()
    }
    frame = pd.DataFrame(shares).fillna(0.0).map(_round)
    return frame.rename_axis("action_id").reset_index()


def summary(metrics: dict) -> str:
    """The metrics as lines of text: name, value and interval."""
    lines = []
    for group in ("error", "policy"):
        for name, interval in metrics.get(group, {}).items():
            ends = ("?" if end is None else f"{end:.3g}" for end in interval.values())
            lines.append("  {:26}{:>8}   ({} to {})".format(name, *ends))
    return "\n".join(lines)


def _round(number: float) -> float | None:
    return float(f"{number:.6g}") if np.isfinite(number) else None


if __name__ == "__main__":
    stage.run(main)
