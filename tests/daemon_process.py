"""The daemon as a subprocess; plugin authors get the same from :mod:`cenergyd.testing`, but not forked."""

from cenergyd.testing import daemon
from cenergyd.testing.daemon import TUNED, raw_post
from tests.forking import Popen

__all__ = ["TUNED", "RunningDaemon", "raw_post"]


class RunningDaemon(daemon.RunningDaemon):
    """Forked from a process that has imported everything."""

    popen = Popen
