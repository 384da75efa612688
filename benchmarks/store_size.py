"""Size of a site's year in the embedded readings store: simulated days are uploaded to and processed by a real daemon.

    nice python -m benchmarks.store_size [--days 14] [--interval 60]

Prints bytes per site and year: readings of three meters (the third computed), and rollups, net load and energy.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cenergyd.testing.daemon import RunningDaemon

SITES = 2


def vacuumed(path: Path) -> int:
    """The size of a database without free pages."""
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def waits(daemon: RunningDaemon) -> bool:
    """Whether derivation or jobs are pending."""
    text = daemon.get("/metrics")[1].decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    names = ("cenergyd_derivation_pending_customers", "cenergyd_jobs_pending_customers")
    return any(float(figures[name]) for name in names)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--days", type=int, default=14)
    options.add_argument("--interval", type=int, default=60)
    asked = options.parse_args()
    with TemporaryDirectory() as folder:
        daemon = RunningDaemon(Path(folder), {"server.max_memory_mb": "1024"})
        daemon.start()
        try:
            words = ("--sites", str(SITES), "--days", str(asked.days), "--interval", str(asked.interval), "--register")
            done = daemon.run("simulate", "--url", f"{daemon.url}/consume", "--upload-every", "21600", *words)
            assert done.returncode == 0, done.stderr
            quiet = 0
            while quiet < 3:
                time.sleep(16)  # the daemon counts pending work every 15 s
                quiet = 0 if waits(daemon) else quiet + 1
        finally:
            daemon.stop()
        path = Path(folder) / "readings.sqlite"
        whole = vacuumed(path)
        with sqlite3.connect(path) as database:
            (readings,) = database.execute("SELECT count(*) FROM reading").fetchone()
            (points,) = database.execute("SELECT count(*) FROM point").fetchone()
            database.execute("DELETE FROM point")
        raw = vacuumed(path)
    year = 365 / asked.days / SITES
    print(
        f"{asked.days} days of {SITES} sites with a reading every {asked.interval} s: {readings} readings, {points} points"
    )
    print(f"readings        {raw * year / 1e6:8.1f} MB a site and year ({raw / readings:.1f} bytes a reading)")
    print(
        f"longer          {(whole - raw) * year / 1e6:8.1f} MB a site and year ({(whole - raw) / points:.1f} bytes a point)"
    )


if __name__ == "__main__":
    main()
