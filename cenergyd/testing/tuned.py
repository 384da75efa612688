"""``cenergyd`` with some of its constants changed: ``python tuned.py MODULE.NAME=VALUE ... -- ARGUMENTS``.

For tests that need a real daemon with shorter times or smaller limits, because the real ones would take minutes to reach.
"""

from __future__ import annotations

import sys
from importlib import import_module

from cenergyd.cli import main


def set_constant(assignment: str) -> None:
    """Set one constant; the text is converted to its type."""
    name, _, value = assignment.partition("=")
    module_name, _, constant = name.rpartition(".")
    module = import_module(module_name)
    setattr(module, constant, type(getattr(module, constant))(value))


if __name__ == "__main__":
    cut = sys.argv.index("--")
    for each in sys.argv[1:cut]:
        set_constant(each)
    sys.argv[1:] = sys.argv[cut + 1 :]
    main()
