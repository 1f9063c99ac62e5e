"""The evaluation scores by their definitions: loops over numbers, sums in exact fractions."""

import math
from fractions import Fraction
from itertools import permutations, product


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


def average_ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def correlation(a, b):
    """Pearson's, in exact fractions up to the root; 0 where either is constant."""
    a, b = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    cov = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    var_a, var_b = sum((x - mean_a) ** 2 for x in a), sum((y - mean_b) ** 2 for y in b)
    return float(cov) / math.sqrt(var_a * var_b) if var_a * var_b else 0.0


def slope(x, y):
    x, y = [Fraction(float(v)) for v in x], [Fraction(float(v)) for v in y]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    cov = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return float(cov / sum((a - mean_x) ** 2 for a in x))


def linear_datamodeling_score(T, masks, outputs):
    scores = []
    for j, row in enumerate(T):
        sums = [
            sum(Fraction(float(v)) for v, kept in zip(row, mask, strict=True) if kept)
            for mask in masks
        ]
        scores.append(
            correlation(average_ranks(sums), average_ranks([output[j] for output in outputs]))
        )
    return sum(scores) / len(scores)


def agreeing_orders(row):
    """All orders of the columns that agree with the values, from the largest down."""
    return [
        order
        for order in permutations(range(len(row)))
        if all(row[order[i]] >= row[order[i + 1]] for i in range(len(row) - 1))
    ]


def average_precision(row, relevant):
    """Mean over all orders that agree with the values; -inf is never found."""
    precisions = []
    for order in agreeing_orders(row):
        found, total = 0, Fraction(0)
        for place, i in enumerate(order, start=1):
            if relevant[i] and row[i] > -math.inf:
                found += 1
                total += Fraction(found, place)
        precisions.append(total / int(sum(relevant)))
    return float(sum(precisions) / len(precisions))


def top_k_cardinality(T, k):
    """Columns among the top k of any row, averaged over all ways in which all rows break ties."""
    selections = [[set(order[:k]) for order in agreeing_orders(row)] for row in T]
    sizes = [len(set().union(*chosen)) for chosen in product(*selections)]
    return sum(sizes) / len(sizes)


def top_k_overlap(A, B, k):
    """Mean overlap over all orders of the columns that agree with the values, of both."""

    def selections(row):
        return [set(order[:k]) for order in agreeing_orders(row)]

    shares = []
    for a, b in zip(A, B, strict=True):
        pairs = [len(one & other) / k for one in selections(a) for other in selections(b)]
        shares.append(sum(pairs) / len(pairs))
    return sum(shares) / len(shares)


def agreement(a, b):
    """Share of rows with one top column in common, ties broken in all ways."""
    shares = []
    for one, other in zip(a, b, strict=True):
        tops = [[c for c, v in enumerate(row) if v == max(row)] for row in (one, other)]
        shares.append(sum(c == d for c in tops[0] for d in tops[1]) / len(tops[0]) / len(tops[1]))
    return sum(shares) / len(shares)


def support(fit, X, y, x, order, counts, label=None):
    """Smallest count of top rows whose removal (or relabelling) changes what is predicted."""
    before = fit(X, y).predict([x])[0]
    for size in counts:
        top = order[:size]
        if label is None:
            kept = [i for i in range(len(y)) if i not in top]
            model = fit([X[i] for i in kept], [y[i] for i in kept])
        else:
            model = fit(X, [label if i in top else y[i] for i in range(len(y))])
        if model.predict([x])[0] != before:
            return size
    return math.inf


def group_gap(outputs, member, first, second, counted):
    """Mean output of the counted rows of one group minus that of another, in loops."""
    means = []
    for group in (first, second):
        values = [outputs[j] for j in range(len(outputs)) if member[j] == group and counted[j]]
        means.append(sum(values) / len(values))
    return means[0] - means[1]


def mending(fit, X, y, x, right, order, counts):
    """Smallest count of rows without which x is predicted right; NaN where it is with them."""
    if fit(X, y).predict([x])[0] == right:
        return math.nan
    for size in counts:
        kept = [i for i in range(len(y)) if i not in order[:size]]
        if fit([X[i] for i in kept], [y[i] for i in kept]).predict([x])[0] == right:
            return size
    return math.inf
