"""The commands of ``cenergyd``, a file a subject; :mod:`cenergyd.cli` puts them together."""
