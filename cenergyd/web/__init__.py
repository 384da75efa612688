"""The HTTP side: uploads, the settings API, pages and operations."""
