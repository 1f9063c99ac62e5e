"""Explained rows as lines that people read in a terminal."""

from .records import ExplainedRow
from .text import aligned, cell, free_lines, number, shortened, table_lines
from .views import loose, named, predicted_words, target_words, verdict

LONGEST_NAME = 24
LONGEST_TEXT = 48


def explained_lines(row: ExplainedRow, id_name: str, train_id_name: str) -> list[str]:
    """Lines on one explained row: heading, decision value, and the training rows behind it.

    Proponents and opponents stand side by side, and one below the other where there are columns or
    texts to tell.
    """
    judged = verdict(row)
    words = "" if judged is None else f", {judged[1]}"
    lines = [f"Test {cell(id_name)} {cell(row.id)}: predicted {predicted_words(row)}{words}"]
    if row.text is not None:
        lines.append(f"  {shortened(row.text, 2 * LONGEST_TEXT)!r}")
    if row.decision_value is not None:
        base = "" if row.base_value is None else f", {number(row.base_value)} of it the base value"
        value = number(row.decision_value)
        lines.append(f"decision value of {target_words(row)}: {value}{base}")
        if loose(row):
            lines.append(f"within {row.bound:.2g} of the exact optimum's, {loose(row)}")
    if not row.pairs:
        return [*lines, "  no training row contributes"]
    if any(pair.columns or pair.text is not None for pair in row.pairs):
        return lines + _below(row, train_id_name)
    return lines + _beside(row, train_id_name)


def _beside(row, train_id_name):
    texts = iter(aligned(pair.value for pair in row.pairs))
    sides = [
        [[pair.id, named(pair.label), next(texts)] for pair in side]
        for side in (row.proponents, row.opponents)
    ]
    kinds = "proponent", "opponent"
    shown = [(kind, side) for kind, side in zip(kinds, sides, strict=True) if side]
    lines = [_joined([[train_id_name, "label", kind] for kind, _ in shown], "   ")]
    for k in range(max(len(side) for _, side in shown)):
        cells = [side[k] if k < len(side) else [""] * 3 for _, side in shown]
        lines.append(_joined(cells, ""))
    return table_lines(lines, indent="  ")


def _joined(sides, between):
    first, *rest = sides
    return [*first, *(value for side in rest for value in (between, *side))]


def _below(row, train_id_name):
    values = aligned(pair.value for pair in row.pairs)
    has_columns = any(pair.columns for pair in row.pairs)
    has_text = any(pair.text is not None for pair in row.pairs)
    head = [train_id_name, "", "label", "value"]
    lines = [head + ["mostly through"] * has_columns + ["text"] * has_text]
    for pair, value in zip(row.pairs, values, strict=True):
        line = [cell(pair.id), pair.kind, named(pair.label), value]
        if has_columns:
            shares = aligned((share for _, share in pair.columns), 2)
            found = zip(pair.columns, shares, strict=True)
            line.append(
                ", ".join(f"{shortened(c, LONGEST_NAME)} {share}" for (c, _), share in found)
            )
        if has_text:
            line.append("" if pair.text is None else repr(shortened(pair.text, LONGEST_TEXT)))
        lines.append(line)
    return free_lines(lines, indent="  ", left=(0, 1, 2, *range(4, len(lines[0]))))
