"""Where Displays are drawn."""

RAISES, LOWERS, REST = "tab:blue", "tab:red", "tab:gray"


def axes(ax=None):
    """The given axes, or those of a new figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'plots need matplotlib ({error}): install with pip install "skattrib[plots]"'
        ) from error
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def plain(value):
    """A text in which matplotlib finds no formula, on one line."""
    return " ".join(str(value).replace("$", r"\$").split())


def check_explainer(explainer, name="explainer"):
    """Refuse what cannot attribute."""
    if isinstance(explainer, type) or not hasattr(explainer, "attribute"):
        raise TypeError(f"{name} must be a fitted explainer, got a {type(explainer).__name__}.")


class Display:
    """What all Displays share."""

    def _place(self, ax):
        self.ax_ = axes(ax)
        self.figure_ = self.ax_.figure
        return self.ax_
