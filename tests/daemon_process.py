"""The daemon as a subprocess; plugin authors get the same from :mod:`cenergyd.testing`."""

from cenergyd.testing.daemon import TUNED, RunningDaemon, raw_post

__all__ = ["TUNED", "RunningDaemon", "raw_post"]
