"""The HTML pages. They work without JavaScript."""
