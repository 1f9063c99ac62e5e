"""The tables of DualView from its results."""


def tables(results):
    """Markdown by name."""
    return {}
