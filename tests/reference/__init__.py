"""An independent reference of what the daemon computes: slow and plain, sharing no code with it."""
