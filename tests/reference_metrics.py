"""The evaluation scores by their definitions: loops over numbers, sums in exact fractions."""

import math
from fractions import Fraction
from itertools import permutations


def class_detection_score(T, y_train, targets):
    shares = []
    for row, target in zip(T, targets, strict=True):
        top = max(row)
        tied = [label for value, label in zip(row, y_train, strict=True) if value == top]
        shares.append(sum(label == target for label in tied) / len(tied))
    return sum(shares) / len(shares)


def area_found(order, flipped):
    """Trapezoids under 'share of flipped found' against 'share inspected', from (0, 0)."""
    area = found = Fraction(0)
    for i in order:
        before = found
        found += Fraction(int(flipped[i]), int(sum(flipped)))
        area += (before + found) / 2 / len(order)
    return area


def mean_magnitudes(T):
    return [
        sum(abs(Fraction(float(v))) for v in column) / len(T) for column in zip(*T, strict=True)
    ]


def mislabel_detection_score(scores, flipped):
    """Mean area over all orders that agree with the scores, between the worst and best area."""
    n = len(scores)
    areas = {order: area_found(order, flipped) for order in permutations(range(n))}
    agreeing = [
        area
        for order, area in areas.items()
        if all(scores[order[k]] >= scores[order[k + 1]] for k in range(n - 1))
    ]
    worst, best = min(areas.values()), max(areas.values())
    return float((sum(agreeing) / len(agreeing) - worst) / (best - worst))


def completeness_error(T, outputs):
    outputs = [Fraction(float(output)) for output in outputs]
    errors = [
        abs(sum(Fraction(float(v)) for v in row) - output)
        for row, output in zip(T, outputs, strict=True)
    ]
    rms = math.sqrt(sum(output**2 for output in outputs) / len(outputs))
    return float(max(errors)) / rms


def nonzero_share(T):
    return [sum(v != 0 for v in row) / len(row) for row in T]


def rows_for_mass(T, mass):
    counts = []
    for row in T:
        magnitudes = sorted((abs(Fraction(float(v))) for v in row), reverse=True)
        needed, held, count = Fraction(str(mass)) * sum(magnitudes), Fraction(0), 0
        while held < needed:
            held += magnitudes[count]
            count += 1
        counts.append(count)
    return counts
