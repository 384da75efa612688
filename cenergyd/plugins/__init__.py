"""Built-in plugins. They enter by the same door as anybody else's; see ``cenergyd.hookspecs``."""
