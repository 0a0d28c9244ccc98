"""What is kept of an oracle's knowledge, so that a report is drawn without Keras."""

import dataclasses

from kbn.report.results import Results
from kbn.run.known import Known, keep, kept
from kbn.search.axes import Condition, Discrete, Numeric
from kbn.search.importance import Importance
from kbn.search.past import Past, PastSearch, PastTrial
from kbn.search.scales import COMPLEMENT_LOG, LOG
from kbn.search.space import Space
from report.builders import results_of, search_of

SPACE = Space(
    (
        Numeric("rate", 1e-4, 1.0, LOG),
        Discrete("optimizer", ("sgd", "adam")),
        Numeric("momentum", 0.5, 0.999, COMPLEMENT_LOG, False, (Condition("optimizer", ("sgd",)),)),
        Numeric("units", 16, 512, LOG, integer=True),
        Discrete("batch", (16, 32, 64), ordered=True),
    )
)
RESULTS = results_of([0.5, 0.75, None, 0.6], space=SPACE)
TRIAL = PastTrial({"rate": 0.1, "optimizer": "sgd"}, 0.5, "trial 3 of before")
KNOWN = Known(
    SPACE,
    tuple(search_of(RESULTS, SPACE).rounds),
    (Importance("rate", 0.8, 0.5, 0.9), Importance("batch", 0.2, 0.0, 0.4)),
    Past((TRIAL,), (PastSearch("similar", (TRIAL,)),)),
)


def test_what_is_kept_is_what_comes_back(tmp_path):
    keep(KNOWN, tmp_path, RESULTS)
    again = kept(tmp_path, RESULTS)
    assert again.space == KNOWN.space
    assert again.importance == KNOWN.importance
    assert again.past == KNOWN.past
    for one, other in zip(again.rounds, KNOWN.rounds, strict=True):
        boxes = [{name: tuple(part) for name, part in box.items()} for box in other.boxes]
        assert [{n: tuple(part) for n, part in box.items()} for box in one.boxes] == boxes
        assert dataclasses.replace(one, boxes=()) == dataclasses.replace(other, boxes=())


def test_it_holds_for_the_results_that_it_was_kept_of_alone(tmp_path):
    assert kept(tmp_path, RESULTS) is None
    keep(KNOWN, tmp_path, RESULTS)
    assert kept(tmp_path, Results(RESULTS.trials[:3], "max")) is None
    (tmp_path / "known.json").write_text("{}")
    assert kept(tmp_path, RESULTS) is None
