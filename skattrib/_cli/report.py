"""The report of the command line: the page of `findings`, of files that were read."""

from ..findings import report
from ..findings.images import image_shape
from ..findings.records import explanations
from .inputs import InputError
from .outputs import replacing
from .printing import warnings_as_notes


class Report(report.Report):
    """What is known so far, and how it becomes a file.

    Raises
    ------
    InputError
        If Jinja2 is not installed.
    """

    def __init__(self):
        try:
            super().__init__()
        except ImportError as error:
            raise InputError(str(error)) from error

    def add_method(self, method, fitted):
        """How the fit went."""
        facts = list(fitted.facts)
        if method.sparse:
            facts.append(["support rows", len(fitted.explainer.support_)])
        self.add_fit(method.name, method.meaning, facts, fitted.warning)

    def add_query(self, query, rows):
        """Suspicious training rows, kinds of error, and explanations of some test rows."""
        shape = None if query.train.table is not None else image_shape(query.train.X)
        with warnings_as_notes():
            self.add_issues(query, shape=shape)
            self.add_errors(query, range(len(query.predicted)), shape=shape)
        self.add_rows(query, explanations(query, rows, with_columns=True), shape=shape)

    def write(self, path):
        """Write the page.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        with replacing(path) as file:
            file.write(self.render())
