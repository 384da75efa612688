"""The dashboard and the alert rules name metrics that the daemon has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
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


RULES = CONTRIB / "prometheus" / "cenergyd.rules.yml"
RULE_TESTS = CONTRIB / "prometheus" / "cenergyd.rules.test.yml"
PROMTOOL = shutil.which("promtool", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def test_every_alert_rule_is_shown_to_fire() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    fired = {
        one["alertname"]
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["exp_alerts"]
    }
    assert fired == alerts


@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian's package prometheus; make test unpacks it)"
)
def test_the_alert_rules_fire_when_they_should_and_not_else() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", RULE_TESTS.name], cwd=RULE_TESTS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
