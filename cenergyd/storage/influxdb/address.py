"""The URL of an InfluxDB in ``[readings] url``."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from cenergyd.errors import ConfigError


@attrs.frozen(slots=True, kw_only=True)
class InfluxAddress:
    """Address and credentials of an InfluxDB."""

    host: str
    port: int = 8086
    database: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    """File of certificates to trust instead of the public ones."""

    def __str__(self) -> str:
        return f"InfluxDB at {self.host}:{self.port}"


def parse_address(url: str) -> InfluxAddress:
    """Parse ``influxdb://user:password@host:8086/database`` or ``https+influxdb://...?ca_file=/path``.

    Raises ConfigError, which never contains the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 8086
    except ValueError:
        raise ConfigError("the InfluxDB URL cannot be read: influxdb://user:password@host:8086/database") from None
    if parts.scheme not in ("influxdb", "https+influxdb"):
        raise ConfigError(f"{parts.scheme}:// is not a scheme of InfluxDB: influxdb:// or https+influxdb:// is needed")
    database = unquote(parts.path.strip("/"))
    if not parts.hostname or not database or any(char in database for char in '/"\\\n'):
        raise ConfigError("the InfluxDB URL needs a host and a database: influxdb://user:password@host:8086/database")
    options = dict(parse_qsl(parts.query))
    unknown = options.keys() - {"ca_file"}
    if unknown:
        raise ConfigError(
            f"the InfluxDB URL has the unknown option {', '.join(sorted(unknown))}: only ca_file is possible"
        )
    return InfluxAddress(
        host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        port=port,
        database=database,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
        tls=parts.scheme.startswith("https"),
        ca_file=options.get("ca_file"),
    )
