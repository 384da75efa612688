"""No regular expression takes a time that grows with the square of what it is given: each is tried at 64 kB."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

import cenergyd

SIZE = 65536
PARTS = (
    "a", "A", "0", "9.", "a.", "a-", "_", "a_", " ", "\t", "\r\n", "\n", "\\", "'", '"', ",", ", ", ";", "=", "a=", ":", "a:", "://", "a://",
    "a://a:", "@", "a@", "/", "//", "-", "--", "+1", "%", "é", "[", "[a]", "(", "$", "$argon2", 'name="', 'name="password"\n', "password",
    "password=", "password ", "secret token ", "basic ", "POINT0", "KEY", "USER", "00-", "00:", "1970-01-01 ", "W/", "\\ud8", ".ini", "`", " - at `",
)  # fmt: skip


def patterns() -> Iterator[tuple[str, tuple[re.Pattern[Any], bool]]]:
    """Every compiled expression that a module keeps, and whether it is searched for anywhere in a text or matched at its start."""
    for module in pkgutil.walk_packages(cenergyd.__path__, "cenergyd."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            many = value if isinstance(value, tuple | list) else value.values() if isinstance(value, dict) else (value,)
            for number, each in enumerate(many):
                if isinstance(each, re.Pattern):
                    matched = re.search(rf"\b{name}\.(?:full)?match\(", inspect.getsource(loaded))
                    yield f"{module.name}.{name}[{number}]", (each, matched is None)


FOUND = dict(patterns())


def test_there_are_some() -> None:
    assert len(FOUND) > 25


@pytest.mark.parametrize("name", FOUND)
def test_no_pattern_takes_quadratic_time(name: str) -> None:
    pattern, searched = FOUND[name]
    binary = isinstance(pattern.pattern, bytes)
    for part in PARTS:
        text = (part * (SIZE // len(part)))[:SIZE] + "!"
        given: Any = text.encode() if binary else text
        begun = time.process_time()
        if searched:
            for _ in pattern.finditer(given):
                pass
        else:
            pattern.match(given)
            pattern.fullmatch(given)
        # By the square these are tens of seconds of work; even a slow machine needs a hundredth of this.
        assert time.process_time() - begun < 2, part
