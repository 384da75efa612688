"""The units on a systemd that runs: Debian in a container without a network."""
