"""The dashboard and the alert rules name metrics that the daemon has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.daemon_process import RunningDaemon

CONTRIB = Path(__file__).parent.parent / "contrib"
METRIC = re.compile(r"\bcenergyd_[a-z0-9_]+")


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    daemon = RunningDaemon(tmp_path_factory.mktemp("metrics"))
    daemon.start()
    daemon.get("/consume")
    status, text = daemon.get("/metrics")
    assert status == 200
    found = set()
    for line in text.decode().splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            found.add(name)
            if kind == "histogram":
                found |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    yield found
    daemon.kill()


def expressions() -> list[str]:
    dashboard = json.loads((CONTRIB / "grafana/cenergyd.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((CONTRIB / "prometheus/cenergyd.rules.yml").read_text())
    found += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return found


def test_every_metric_exists(metrics: set[str]) -> None:
    used = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(used) > 15
    assert used <= metrics


def test_expressions_are_balanced_and_rules_complete() -> None:
    for expression in expressions():
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")
    rules = yaml.safe_load((CONTRIB / "prometheus/cenergyd.rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((CONTRIB / "grafana/cenergyd.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
