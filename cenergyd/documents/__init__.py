"""Small JSON documents (loggers seen, tokens, alert states, ...), kept beside the customers."""
