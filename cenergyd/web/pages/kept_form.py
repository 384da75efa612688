"""A form sent after its session had ended: kept over the sign-in, and then offered for saving.

It is never saved without asking: whoever signs in sees where it goes and confirms. Another site's page cannot inject such a form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from cenergyd.web.access.auth import CSRF_FIELD
from cenergyd.web.pages.forms import MAX_FIELDS, local_path

FIELD = "kept"


class KeptForm(NamedTuple):
    """A form that could not be processed."""

    path: str
    fields: Mapping[str, str]

    @property
    def text(self) -> str:
        """For a hidden field of the sign-in form."""
        return json.dumps([self.path, dict(self.fields)])


def keep(path: str, form: Mapping[str, str]) -> KeptForm:
    """Keep what was sent to a path, without the old session's token."""
    return KeptForm(path, {name: value for name, value in form.items() if name not in (CSRF_FIELD, FIELD)})


def kept_form(text: str) -> KeptForm | None:
    """The form kept in a sign-in form; None if it has none that this server made."""
    try:
        path, fields = json.loads(text)
    except (ValueError, TypeError):
        return None
    path = local_path(path) if isinstance(path, str) else None
    if path is None or not isinstance(fields, dict) or len(fields) > MAX_FIELDS:
        return None
    return KeptForm(path, fields) if all(isinstance(value, str) for value in fields.values()) else None
