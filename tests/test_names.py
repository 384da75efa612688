"""One word, one meaning: no two classes or types of cenergyd have the same name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "cenergyd"
TYPE = re.compile(r"_?[A-Z][a-z]\w*")


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The classes of a module and the names that it gives to types, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name) and TYPE.fullmatch(target.id):
                    yield target.id, statement.lineno


def test_every_class_and_type_has_a_name_of_its_own() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for name, line in names_in(ast.parse(path.read_text())):
            named[name].append(f"{path.relative_to(SOURCE.parent)}:{line}")
    assert {name: places for name, places in named.items() if len(places) > 1} == {}
