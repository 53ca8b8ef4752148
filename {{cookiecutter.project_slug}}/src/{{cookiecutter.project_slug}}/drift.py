"""Drift: how far what is seen lies from the reference, by the population stability index (PSI).

Where nothing drifted, PSI of n and m independent rows is about (1/n + 1/m) times a chi-squared
number with one degree of freedom less than bins. So the threshold follows from the rows, not from
a rule of thumb. Source: Yurdakul, "Statistical Properties of Population Stability Index", 2018.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from scipy.special import chdtri

REFERENCE = Path("reports/reference.json")
BINS = 10
PREDICTION = "prediction"
State = Literal["ok", "alarm", "unknown"]


@dataclass(frozen=True)
class Distribution:
    """How often a number lies in each bin.

    Attributes:
        edges: (b,) ascending; a bin ends at its edge and holds it. A category is its code.
        counts: (b + 2,): up to each edge, above the last, missing.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: np.ndarray, categories: int = 0) -> Self:
        """Count values (n,), NaN where missing, in bins of about equally many or by category."""
        known = values[~np.isnan(values)]
        if categories:
            edges = np.arange(categories, dtype=float)
        elif len(known):
            steps = np.linspace(0, 1, BINS + 1)[1:-1]
            edges = np.unique(np.quantile(known, steps, method="lower")).astype(float)
        else:
            edges = np.zeros(1)
        inside = np.bincount(np.searchsorted(edges, known), minlength=len(edges) + 1)
        return cls(tuple(edges.tolist()), (*inside.tolist(), int(len(values) - len(known))))


@dataclass(frozen=True)
class Reference:
    """What the model was judged on: its hash, and the distribution of each input and prediction.

    Attributes:
        model: SHA-256 of the model, as the service logs it.
        rows: independent rows behind the distributions.
        distributions: by feature, and of the prediction.
    """

    model: str
    rows: float
    distributions: dict[str, Distribution]

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """From JSON; raises ValueError if it is of another form."""
        try:
            content = json.loads(text)
            pairs = content.pop("distributions").items()
            return cls(**content, distributions={n: Distribution(**d) for n, d in pairs})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a part is missing or of another form: {error}") from None


@dataclass(frozen=True)
class Finding:
    """What is to be said of one distribution.

    Attributes:
        psi, threshold: an alarm above the threshold; None without enough rows.
        expected, observed: share of each bin.
    """

    name: str
    state: State
    psi: float | None
    threshold: float | None
    expected: list[float]
    observed: list[float]


def effective(counts: np.ndarray) -> float:
    """Independent rows among rows that come in groups of so many; Kish's effective sample size."""
    return float(counts.sum() ** 2 / max((counts.astype(float) ** 2).sum(), 1))


def judge(
    name: str,
    expected: tuple[Iterable[int], float],
    observed: tuple[Iterable[int], float],
    alpha: float,
    floor: float,
    min_rows: int,
) -> Finding:
    """Compare counts (b,) of bins, each with its number of independent rows."""
    (reference, m), (current, n) = (
        (np.array([*c], float), rows) for c, rows in (expected, observed)
    )
    shares = [(c / max(c.sum(), 1)).round(6).tolist() for c in (reference, current)]
    if min(m, n) < min_rows:
        return Finding(name, "unknown", None, None, *shares)
    used = (reference + current) > 0
    p, q = (_smooth(c[used], rows) for c, rows in ((reference, m), (current, n)))
    psi = float(((q - p) * np.log(q / p)).sum())
    freedom = max(int(used.sum()) - 1, 1)
    threshold = max(floor, float((1 / n + 1 / m) * chdtri(freedom, alpha)))
    return Finding(name, "alarm" if psi > threshold else "ok", psi, threshold, *shares)


def _smooth(counts: np.ndarray, rows: float) -> np.ndarray:
    """Shares, with half a row more in each bin: what was never seen is not impossible."""
    return (counts / counts.sum() * rows + 0.5) / (rows + 0.5 * len(counts))
