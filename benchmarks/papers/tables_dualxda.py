"""The tables of DualXDA from its results."""


def tables(results):
    """Markdown by name."""
    return {}
