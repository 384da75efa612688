"""The HTML pages: signing in, the operator's overview, settings, the power view. They work without JavaScript."""
