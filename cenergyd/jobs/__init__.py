"""Jobs that process readings: rollups, demand, energy, charges and alerts. The built-in plugins call them."""
