"""One word, one meaning: no two classes of cenergyd have the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "cenergyd"


def test_every_class_has_a_name_of_its_own() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                named[node.name].append(f"{path.relative_to(SOURCE.parent)}:{node.lineno}")
    assert {name: places for name, places in named.items() if len(places) > 1} == {}
