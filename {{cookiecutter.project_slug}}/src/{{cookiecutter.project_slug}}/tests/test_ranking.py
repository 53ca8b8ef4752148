"""Ranking: what is served is what was trained, to the last bit, or it is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from .. import features, model, params, store
from ..contract import TASK
from ..errors import StageError
from ..model import Model
from ..ranking import Ranker
from ..store import LiveStore
from .conftest import at_cutoff
from .test_store import build

NAMES = list(TASK.features.model_fields)


def differences(trained, ranker):
    """Players whose features or predictions differ in a bit between the two paths."""
    actions = model.open_baseline()
    offline = trained.inputs[:, : len(NAMES)]
    expected = Model.open().predict_all(offline, actions.inputs)
    different = set()
    for position, player in enumerate(trained.entity_id.tolist()):
        ranking = ranker.rank(player, None)
        by_action = dict(zip(ranking.actions, ranking.expected, strict=True))
        served = np.array([by_action[number] for number in actions.action_ids.tolist()], np.float32)
        if ranking.features is None or ranking.features.tobytes() != offline[position].tobytes():
            different.add(player)
        if served.tobytes() != expected[position].tobytes():
            different.add(player)
    return different


def test_training_and_serving_agree_in_every_bit(copy):
    trained = at_cutoff(copy, params.load())
    assert len(trained) > 400
    assert differences(trained, Ranker()) == set()


@pytest.mark.parametrize("name", ["spend_84d", "days_since_session", "platform"])
def test_a_feature_that_is_missing_on_one_side_is_seen(copy, monkeypatch, name):
    """The online table is made again by a definition that lost the feature."""
    trained = at_cutoff(copy, params.load())
    definition = features.DEFINITION.read_text()
    monkeypatch.setattr(features, "DEFINITION", copy / "features.sql")
    lost = f"SELECT * REPLACE (NULL AS {name}) FROM ({definition})"
    features.DEFINITION.write_text(lost)
    features.main()
    assert len(differences(trained, Ranker())) > 100


def test_a_ranking_is_sorted_by_what_served(copy):
    ranking = Ranker().rank(7, None)
    assert ranking.expected == sorted(ranking.expected, reverse=True)
    assert (ranking.served, ranking.cold_start) == ("model", False)


def test_one_store_read_and_one_model_call_for_all_that_are_ranked_together(copy, monkeypatch):
    calls = []
    for kind, name in ((Model, "predict"), (store.Store, "get")):
        original = getattr(kind, name)

        def counted(self, given, original=original, name=name):
            calls.append(name)
            return original(self, given)

        monkeypatch.setattr(kind, name, counted)
    Ranker().rank_together([7, 8], [[0, 1, 2], [3]])
    assert calls == ["get", "predict"]


def test_ranked_together_each_gets_what_it_gets_alone_bit_for_bit(copy):
    ranker, unknown = Ranker(), 2**40
    entities = [*range(200), unknown, 7]
    places = [ranker.find([n % 12 + 1, (n + 5) % 12 + 1] if n % 3 else None) for n in entities]
    together = ranker.rank_together(entities, places)
    alone = [ranker.rank_together([n], [some])[0] for n, some in zip(entities, places, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert one._replace(features=None) == other._replace(features=None)
        assert (one.features is None) == (other.features is None)
        if one.features is not None and other.features is not None:
            assert one.features.tobytes() == other.features.tobytes()
    assert [ranking.cold_start for ranking in together].index(True) == entities.index(unknown)


def test_the_order_asked_for_does_not_matter_and_nothing_is_left_from_the_last_request(copy):
    ranker = Ranker()
    first = ranker.rank(7, None)
    ranker.rank(8, [5, 1, 2])
    assert ranker.rank(7, list(range(12, 0, -1))).expected == first.expected
    assert ranker.rank(7, None).actions == first.actions


def test_the_baseline_is_served_even_if_the_model_is_broken(copy):
    path = model.FOLDER / model.ONNX
    lineage = json.loads((model.FOLDER / model.LINEAGE).read_text())
    path.write_bytes(b"broken")
    lineage["files"][model.ONNX] = model.digest(path)
    (model.FOLDER / model.LINEAGE).write_text(json.dumps(lineage))
    ranker = Ranker("baseline")
    ranking = ranker.rank(7, None)
    assert (ranking.served, ranking.cold_start) == ("baseline", False)
    assert ranking.expected == sorted(ranker.means.values(), reverse=True)
    with pytest.raises(StageError, match="the model cannot be loaded"):
        Ranker()


def rewrite_lineage(change):
    path = model.FOLDER / model.LINEAGE
    lineage = json.loads(path.read_text())
    change(lineage)
    path.write_text(json.dumps(lineage))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda: os.truncate("models/model.onnx", 5000), "model.onnx is not the file"),
        (lambda: os.truncate("models/baseline.json", 50), "baseline.json is not the file"),
        (lambda: os.truncate("models/lineage.json", 50), "lineage.json is damaged"),
        (lambda: Path("models/model.onnx").unlink(), "No such file.*model.onnx"),
        (lambda: rewrite_lineage(lambda x: x["inputs"]["platform"].reverse()), "other features"),
        (lambda: rewrite_lineage(lambda x: x["inputs"].pop("price")), "other features"),
        (lambda: store.ONLINE.unlink(), "online.lmdb"),
        (lambda: os.truncate(store.ONLINE, 8192), "online.lmdb is not complete"),
        (lambda: os.truncate(store.ONLINE, 100), "online.lmdb"),
        (lambda: (store.ONLINE.unlink(), build(store.ONLINE)), "holds other features"),
    ],
)
def test_what_is_missing_damaged_or_of_another_version_is_refused(copy, damage, says):
    damage()
    with pytest.raises(StageError, match=says):
        Ranker()


def test_a_store_of_a_contract_with_other_categories_is_refused(copy):
    with pytest.raises(OSError, match="other features"):
        LiveStore(store.ONLINE, {name: [] for name in NAMES})
