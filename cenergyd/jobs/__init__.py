"""Jobs: rollups, demand, energy, charges and alerts; pure functions that the plugins run."""
