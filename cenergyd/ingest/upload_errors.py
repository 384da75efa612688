"""The reply to an upload that failed: its status, outcome and reason. Pure."""

from __future__ import annotations

from typing import Final

from cenergyd.acquisuite.form import CredentialsError
from cenergyd.errors import (
    CenergydError,
    FutureRows,
    Overloaded,
    StoredTypeConflict,
    StoreRejected,
    StoreUnavailable,
    UploadError,
)
from cenergyd.runtime.attempts import TooManyAttempts

UNAUTHORIZED: Final = "serial number or password is not right"


def reply_to(error: Exception) -> tuple[int, str, str]:
    """Status, outcome and the reason for the device's log."""
    if isinstance(error, CredentialsError):
        return 401, "unauthorized", UNAUTHORIZED
    if isinstance(error, Overloaded | TooManyAttempts):
        return 503, "busy", "too much is waiting, try again later"
    if isinstance(error, FutureRows):
        return 503, "unavailable", "all rows are later than the server's time; check the clocks of server and logger"
    if isinstance(error, StoreUnavailable):
        return 503, "unavailable", "the store does not answer, try again later"
    if isinstance(error, StoredTypeConflict):
        return 503, "unavailable", "the store holds data of another type under this meter's name, try again later"
    if isinstance(error, StoreRejected):
        return 406, "refused", "the store refuses these readings"  # its own message contains its address
    if isinstance(error, UploadError):
        return 406, "refused", str(error)
    if isinstance(error, CenergydError):
        return 503, "unavailable", "try again later"
    return 500, "error", "internal error, try again later"
