"""The commands of ``cenergyd``, one file per subject; :mod:`cenergyd.cli` combines them."""
