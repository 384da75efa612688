"""What the commands share: where the settings come from, running a coroutine, times, passwords, finding a customer."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.errors import CenergydError, ConfigError, NotFound
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.logs import secrets_of
from cenergyd.runtime.redact import Redactor
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.settings.state import embedded_path, in_folder, state_folder

if TYPE_CHECKING:
    from cenergyd.storage.open import Stores

F = TypeVar("F", bound=Callable[..., object])
"""A command's function, as click's decorators take and return it."""
T = TypeVar("T")
LOCAL_INI: Final = Path("etc/cenergyd.ini")
SYSTEM_INI: Final = Path("/etc/cenergyd/cenergyd.ini")
_UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO: Final = re.compile(r"(\d+)(s|min|h|d|w)(?: ago)?\Z")


class Failed(CenergydError):
    """A command failed; the message says why."""


@attrs.define
class SettingsSource:
    """Where this run's settings come from: a file and what the command line adds."""

    file: Path | None = None
    overrides: dict[str, str] = attrs.field(factory=dict)

    @property
    def shown(self) -> str:
        """For a person."""
        return str(self.chosen_file or "built-in defaults (there is no settings file)")

    @property
    def chosen_file(self) -> Path | None:
        """The file given, else the first of the usual ones that is there, else None: defaults alone."""
        return self.file or next((candidate for candidate in (LOCAL_INI, SYSTEM_INI) if candidate.is_file()), None)

    def add(self, file: Path | None, pairs: tuple[str, ...], state: Path | None) -> None:
        """Apply a command's options; later ones win. Raises ConfigError."""
        self.file = file or self.file
        if state is not None:
            folder = state.absolute()
            self.overrides["state.folder"] = str(folder)
            self.overrides["customers.url"] = f"sqlite:///{folder}/customers.sqlite"
            self.overrides["readings.url"] = f"sqlite:///{folder}/readings.sqlite"
        for pair in pairs:
            dotted, equals, value = pair.partition("=")
            # The section itself may hold a dot ([layout:NAME]), a key never does.
            section, dot, key = dotted.strip().rpartition(".")
            if not (equals and dot and section and key):
                raise ConfigError(f"--set {pair}: SECTION.KEY=VALUE is needed, for example server.listen=tcp:8080")
            self.overrides[f"{section}.{key}"] = value

    def load(self, warn: Callable[[str], None] = lambda message: click.echo(message, err=True)) -> Settings:
        """Raises ConfigError.

        :param warn: called for settings under an old name and settings that have become constants.
        """
        settings = load_settings(Settings, self.chosen_file, self.overrides, warn)
        system_wide = self.chosen_file == SYSTEM_INI
        return in_folder(settings, state_folder(settings, os.environ, system_wide=system_wide))


pass_source = click.make_pass_decorator(SettingsSource)


class _TakesSettings(click.Command):
    """A command with ``--config``, ``--set`` and ``--state``, which fill the :class:`SettingsSource` of this run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--config"], type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                help=f"Settings file. Default: ./{LOCAL_INI} if it is there, else {SYSTEM_INI} if it is there.",
            ),
            click.Option(
                ["--set", "pairs"], multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting; may repeat.",
            ),
            click.Option(
                ["--state"], type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                help="State folder, with the embedded databases instead of the stores of the settings.",
            ),
        ]  # fmt: skip

    def invoke(self, ctx: click.Context) -> object:
        """Remove our options, then run the command."""
        source = ctx.ensure_object(SettingsSource)
        source.add(ctx.params.pop("config"), ctx.params.pop("pairs"), ctx.params.pop("state"))
        return super().invoke(ctx)


class SettingsCommand(_TakesSettings):
    """A command that needs settings: ``@group.command(cls=SettingsCommand)`` with ``@pass_source``."""


class SettingsGroup(_TakesSettings, click.Group):
    """A group whose settings options count for all its commands."""

    command_class = SettingsCommand
    group_class = type


def run_async(work: Callable[[Reactor], Coroutine[Deferred[object], object, T]]) -> T:
    """Run ``work(reactor)`` in this process's reactor; return its result or raise its error.

    An interrupt (Ctrl-C, SIGTERM) cancels the work, waits until it has cleaned up, and exits with 130.
    A process can do this once: reactors cannot be started again.
    """
    from twisted.internet import reactor as installed

    reactor = cast(Reactor, installed)
    outcome: list[object] = []
    interrupted = False

    def stop(result: object) -> None:
        outcome.append(result)
        with suppress(ReactorNotRunning):
            reactor.stop()

    def begin() -> None:
        running: Deferred[object] = Deferred.fromCoroutine(work(reactor))
        ended: Deferred[None] = Deferred()

        def interrupt() -> Deferred[None]:
            nonlocal interrupted
            interrupted = not ended.called
            running.cancel()
            return ended

        # With the work done there is nothing left to cancel, and ``ended`` lets the shutdown go on at once.
        reactor.addSystemEventTrigger("before", "shutdown", interrupt)
        running.addBoth(stop).addBoth(lambda _: ended.callback(None))

    reactor.callWhenRunning(begin)
    reactor.run()
    result = outcome[0] if outcome else Failure(CancelledError())
    if isinstance(result, Failure):
        if interrupted or result.check(CancelledError):  # whatever cancelled work says in the end
            raise click.exceptions.Exit(130)
        result.raiseException()
    return cast(T, result)


@asynccontextmanager
async def stores_of(settings: Settings, reactor: Reactor) -> AsyncIterator[Stores]:
    """The stores of the settings, open; closed again at the end; names them on stderr.

    Raises Failed if an embedded one does not exist: only the daemon creates it, so that a command run in another folder does not work on an
    empty one.
    """
    from cenergyd.storage.open import open_stores  # imports all drivers, which not every command needs

    require_databases(settings)
    redact = Redactor(secrets_of(settings))
    urls = dict.fromkeys((settings.customers.url, settings.readings.url))
    click.echo(f"stores: {', '.join(redact(url) for url in urls)}", err=True)
    stores = await open_stores(settings, reactor)
    try:
        yield stores
    finally:
        await stores.close()


def is_missing(url: str) -> bool:
    """Whether a URL is that of an embedded database that does not exist."""
    path = embedded_path(url)
    return path is not None and not path.exists()


def require_databases(settings: Settings) -> None:
    """Raises Failed if an embedded database does not exist."""
    for url in (settings.customers.url, settings.readings.url):
        if is_missing(url):
            raise Failed(
                f"there is no database {embedded_path(url)}; 'cenergyd run' creates it. Is this the right place? "
                "--config, --state and [state] folder name another"
            )


def make_state_folders(settings: Settings) -> None:
    """Create the folders of embedded databases, readable by their owner alone. Raises ConfigError."""
    for section, url in (("customers", settings.customers.url), ("readings", settings.readings.url)):
        if url.startswith("sqlite:///"):
            folder = Path(url.removeprefix("sqlite:///")).parent
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if all(".sqlite" in file.name for file in folder.iterdir()):
                    folder.chmod(0o700)  # also one that already existed, but not a folder with other uses
            except OSError as error:
                raise ConfigError(f"[{section}] url: cannot create {folder}: {error.strerror}") from error


async def find_customer(customers: CustomerStore, name: str) -> Customer:
    """By id or by logger serial number. Raises NotFound."""
    found = await customers.get(name) or await customers.by_serial(name.upper())
    if found is None:
        raise NotFound(f"there is no customer with the id or logger serial number {name!r}")
    return found


class TimeParam(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases
    """A time on the command line, as UTC seconds: ``2026-01-31``, ``2026-01-31T18:30``, ``...Z``, ``2d ago``, ``now``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """UTC where the text names no offset."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        now = int(datetime.now(UTC).timestamp())
        ago = _AGO.match(text)
        if text == "now":
            return now
        if ago:
            return now - int(ago[1]) * _UNITS[ago[2]]
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is not a time: 2026-01-31, 2026-01-31T18:30Z, '2d ago' or now is needed", param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def password_options(command: F) -> F:
    """``--password-file`` and ``--password-stdin``. Not as an argument: other users of the machine could read it."""
    file = click.option(
        "--password-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
        help="Read the logger's password from a file (its first line).",
    )  # fmt: skip
    stdin = click.option("--password-stdin", is_flag=True, help="Read the logger's password from standard input.")
    return file(stdin(command))


def read_password(file: Path | None, stdin: bool) -> str | None:
    """The password of the options, or None where neither was given. Raises click.UsageError."""
    if file is not None and stdin:
        raise click.UsageError("give either --password-file or --password-stdin")
    if file is None and not stdin:
        return None
    try:
        text = file.read_text(encoding="utf-8") if file is not None else sys.stdin.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--password-file: {error}") from error
    password = text.splitlines()[0] if text else ""
    if not password:
        raise click.UsageError("the password is empty")
    return password


def utc_text(time: int) -> str:
    """UTC seconds for a person."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, if that is a terminal; called with the amount done and the total."""
    with click.progressbar(length=0, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:

        def progress(done: int, total: int) -> None:
            shown.length = total
            shown.update(done - shown.pos)

        yield progress
