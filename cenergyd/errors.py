"""Every error that crosses a boundary inside cenergyd, each with a message for a person."""

from __future__ import annotations


class CenergydError(Exception):
    """Base of all errors raised on purpose; ``str(error)`` says what is wrong and what to do."""


class ConfigError(CenergydError):
    """A setting is missing or wrong; the message names file, section, key and acceptable values."""


class UploadError(CenergydError):
    """An upload cannot be accepted as it is (answered 406); the device keeps the file."""


class FutureRows(CenergydError):
    """All rows of an upload are in the future: this server's clock may be behind (answered 503; the device keeps the file)."""

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"all {rows} rows are later than this server's time; the clock of the server or of the logger is wrong"
        )


class StoreUnavailable(CenergydError):
    """A store did not answer, timed out or refused the connection: nothing was acknowledged, try again later."""


class StoreRejected(CenergydError):
    """A store rejected this data; repeating it would not help."""


class StoredTypeConflict(StoreRejected):
    """A store has a field of this name with another type, written by somebody else: an operator must repair the store (answered 503)."""


class Overloaded(CenergydError):
    """A bounded queue is full: answered 503, try again later."""


class Conflict(CenergydError):
    """Somebody else changed the same thing first (compare-and-set failed)."""


class Incompatible(CenergydError):
    """The request conflicts with existing data; the message says which (answered 409)."""


class ChangedElsewhere(Conflict):
    """The front end that shares the collection has changed the customer, and the change has not been adopted yet."""


class NotFound(CenergydError):
    """No such customer or document."""


class InvalidField(CenergydError):
    """A value of one field is not acceptable; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SerialTaken(InvalidField):
    """Another customer already names this logger serial number."""

    def __init__(self, serial: str) -> None:
        super().__init__("logger_serial_number", f"logger {serial} already belongs to another customer")


class DeliveryRefused(CenergydError):
    """A message was refused permanently (no such address): trying again would not help."""


class DeliveryUnknown(CenergydError):
    """A message may or may not have been accepted: the connection ended before the answer."""
