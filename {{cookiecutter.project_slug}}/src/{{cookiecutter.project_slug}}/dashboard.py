"""Dashboard: what is the model worth, for whom is it weak, what would it show, is it well?

By `make dashboard`, for people. It reads reports/ and the running service (SERVICE of the
environment), nothing else. Whom other machines reach asks for DASHBOARD_PASSWORD first. Streamlit
runs this file from top to bottom at each click.
"""

import hmac
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

REPORTS = Path("reports")
SERVICE = os.environ.get("SERVICE", "http://127.0.0.1:8000")
SIGNS = {"ok": ":green[ok]", "alarm": ":red[alarm]", "unknown": ":orange[unclear]"}
POLICIES = {"random": "at random", "best_single": "always the best one", "model": "by the model"}


def main() -> None:
    """One page of four parts."""
    st.set_page_config("The model and its service", layout="wide")
    st.title("The model and its service")
    if not is_open():
        return
    metrics = read("metrics.json")
    if metrics is None:
        st.error("There are no reports yet: run `make reproduce`.")
        return
    good, weak, shown, well = st.tabs(
        ["How good is it?", "For whom is it weak?", "What would it show?", "Is it well?"]
    )
    with good:
        show_worth(metrics)
    with weak:
        show_slices(pd.read_csv(REPORTS / "plots/slices.csv"))
    with shown:
        show_ranking()
    with well:
        show_health(read("monitor.json"))


def is_open() -> bool:
    """Whether this session may look: after the password, or on this machine without one."""
    password = os.environ.get("DASHBOARD_PASSWORD", "")
    local = st.get_option("server.address") in ("127.0.0.1", "localhost")
    if st.session_state.get("open") or (local and not password):
        return True
    if not password:
        st.error("Other machines reach this page: set DASHBOARD_PASSWORD, and start it again.")
        return False
    given = st.text_input("Password", type="password")
    if hmac.compare_digest(given.encode(), password.encode()):
        st.session_state["open"] = True
        st.rerun()
    if given:
        st.error("This is not the password.")
    return False


def read(name: str) -> Any:
    """A report as JSON; None if there is none yet."""
    path = REPORTS / name
    return json.loads(path.read_text()) if path.exists() else None


def ask(path: str, content: Any = None) -> Any:
    """What the service answers, or None after a sentence that says why it does not."""
    key = st.session_state.get("key", "")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = None if content is None else json.dumps(content).encode()
    try:
        request = urllib.request.Request(f"{SERVICE}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        st.warning(f"The service says: {json.load(error)['error']}.")
    except (OSError, ValueError) as error:
        st.error(f"The service at {SERVICE} does not answer ({error}): start it by `make serve`.")
    return None


def show_worth(metrics: dict[str, Any]) -> None:
    """What showing the best-ranked choice earns, and how far predictions are off."""
    if policy := metrics.get("policy"):
        st.header("What an example earns")
        columns = st.columns(len(POLICIES))
        for column, (name, words) in zip(columns, POLICIES.items(), strict=True):
            figure = policy[name]
            column.metric(f"Shown {words}", figure_text(figure["value"]))
            column.caption(
                f"between {figure_text(figure['low'])} and {figure_text(figure['high'])}"
            )
        gain = policy["model_over_best_single"]
        st.write(gain_sentence(gain))
    st.header("Can the predictions be believed?")
    st.write("Each point is a tenth of the examples. On a straight line, promises are kept.")
    calibration = pd.read_csv(REPORTS / "plots/calibration.csv")
    st.line_chart(calibration, x="predicted", y="observed", height=320)
    error, naive = (metrics["error"][f"{name}_mae"] for name in ("model", "baseline"))
    st.write(
        f"On average a prediction is off by {figure_text(error['value'])}; "
        f"without the model it would be {figure_text(naive['value'])}."
    )


def gain_sentence(gain: dict[str, float | None]) -> str:
    """What the model adds to always showing the best one, with its uncertainty."""
    if gain["low"] is None or gain["high"] is None:
        return "There are too few examples to say what the model adds."
    if gain["low"] > 0:
        return f"The model earns {gain['low']:.0%} to {gain['high']:.0%} more than the best one."
    return f"It is not certain that the model earns more: {gain['low']:.0%} to {gain['high']:.0%}."


def figure_text(number: float | None) -> str:
    """Two digits behind the point."""
    return "?" if number is None else f"{number:.2f}"


def show_slices(slices: pd.DataFrame) -> None:
    """Errors by group, the worst first."""
    st.header("For whom is it weak?")
    st.write("How much of what differs between examples the model explains, in each group.")
    worst = slices.sort_values("model_r2")
    first = worst.iloc[0]
    st.info(f"Weakest: **{first['slice']}**, with {int(first['examples']):,} examples.")
    st.bar_chart(worst, x="slice", y="model_r2", horizontal=True, sort="model_r2")
    columns = ["slice", "examples", "observed", "predicted", "model_r2", "model_r2_low"]
    st.dataframe(worst[[*columns, "model_r2_high"]], hide_index=True)


def show_ranking() -> None:
    """What the service would show to somebody, known by id or described."""
    st.header("What would it show, and why?")
    st.text_input("API key, if the service asks for one", type="password", key="key")
    document = ask("/openapi.json")
    if document is None:
        return
    schemas = document["components"]["schemas"]
    entity = next(iter(schemas["Rank"]["properties"]))
    words = entity.removesuffix("_id")
    kind = st.radio("For whom?", [f"a {words} by id", f"a {words} as described"], horizontal=True)
    if kind.endswith("id"):
        number = st.number_input(f"The id of the {words}", min_value=0, step=1)
        show_answer(ask("/rank", {entity: int(number)}))
        return
    features = describe(schemas)
    answer = ask("/predict", {"features": features})
    show_answer(answer)
    if answer:
        explain(features, answer)


def show_answer(answer: dict[str, Any] | None) -> None:
    """A ranking beside the baseline."""
    if not answer:
        return
    table = pd.DataFrame(answer["ranking"])
    if answer["cold_start"]:
        st.warning("Nothing is known of this one: this is the ranking for everybody.")
    elif answer["feature_age_seconds"] is not None:
        days = answer["feature_age_seconds"] / 86_400
        st.caption(f"From what was known {days:.1f} days ago.")
    expected = next(name for name in table if str(name).startswith("expected_"))
    first = table.iloc[0]
    st.write(
        f"First in line: **{table.columns[0].removesuffix('_id')} {first.iloc[0]:.0f}**. "
        f"Expected are {first[expected]:.2f}; on average it brings {first['baseline']:.2f}."
    )
    st.dataframe(table.round(2), hide_index=True)


def describe(schemas: dict[str, Any]) -> dict[str, Any]:
    """Ask for each feature; at first somebody in the middle of the reference."""
    reference = read("reference.json") or {"distributions": {}}
    name = schemas["Predict"]["properties"]["features"]["$ref"].rsplit("/", 1)[1]
    features: dict[str, Any] = {}
    columns = st.columns(3)
    for place, (field, kind) in enumerate(schemas[name]["properties"].items()):
        column = columns[place % 3]
        if "enum" in kind:
            features[field] = column.selectbox(field, kind["enum"])
            continue
        edges = reference["distributions"].get(field, {}).get("edges", [0.0])
        middle = edges[len(edges) // 2]
        if kind.get("type") == "integer":
            features[field] = int(column.number_input(field, value=int(middle), min_value=0))
        else:
            features[field] = float(column.number_input(field, value=round(float(middle), 2)))
    return features


def explain(features: dict[str, Any], answer: dict[str, Any]) -> None:
    """What each number adds: the first choice again, with this feature at nothing."""
    st.subheader("Why?")
    action, expected, *_ = answer["ranking"][0].items()
    rows = []
    for name, value in features.items():
        if isinstance(value, str) or not value:
            continue
        other = ask("/predict", {"features": features | {name: type(value)(0)}})
        if other is None:
            return
        (same,) = (row for row in other["ranking"] if row[action[0]] == action[1])
        rows.append({"feature": name, "adds": expected[1] - same[expected[0]]})
    st.write("How much less the first choice would be expected to bring if this number were zero.")
    if rows:
        st.bar_chart(pd.DataFrame(rows), x="feature", y="adds", horizontal=True, sort="-adds")
    importance = pd.read_csv(REPORTS / "plots/importance.csv")
    st.write("What the model looks at most, over all:")
    st.bar_chart(importance.head(8), x="feature", y="share", horizontal=True, sort="-share")


def show_health(watch: dict[str, Any] | None) -> None:
    """The last verdict of the monitor, and what the service says of itself now."""
    st.header("Is it well?")
    if version := ask("/version"):
        st.write(
            f"The service answers. Model `{version['model'][:12]}`, trained on data up to "
            f"{version['data_until']}, features up to {version['features_until'][:10]}."
        )
    if watch is None:
        st.info("The monitor has not looked yet: run `make monitor`.")
        return
    say = {"ok": st.success, "alarm": st.error, "unknown": st.warning}[watch["state"]]
    say(watch["verdict"])
    st.caption(f"The monitor looked at {watch['start'][:10]} to {watch['end'][:10]}.")
    for check in watch["checks"]:
        st.write(f"{SIGNS[check['state']]} **{check['name']}**: {check['sentence']}")


if __name__ == "__main__":
    main()
