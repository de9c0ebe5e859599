"""The metrics of one row, by the package and by plain loops."""

import math

import numpy as np

from analysis import noise
from analysis.noise import query_metrics

IGNORE = 255


def metrics_of(row, labels, query=0, **options):
    return query_metrics(np.array([row], float), np.array(labels), [query], ignore_index=IGNORE, **options)


def slow_metrics(row, labels, query, threshold=0.25):
    """Every metric of one row by its definition, in plain loops; missing entries are undefined."""
    if labels[query] == IGNORE:
        return {}
    same = [j for j in range(len(row)) if j != query and labels[j] == labels[query]]
    other = [j for j in range(len(row)) if labels[j] not in (IGNORE, labels[query])]
    kept = math.fsum(row[j] for j in same + other)
    result = {"kept_mass": kept, "interclass_mass": math.fsum(row[j] for j in other)}
    if same and other:
        result["chance"] = len(other) / len(same + other)
    if kept < 1e-6:
        return result
    shares = [row[j] / kept for j in same + other]
    result["top_mass"] = max(shares)
    result["effective_keys"] = math.exp(-sum(s * math.log(s) for s in shares if s > 0))
    if same and other:
        result["interclass_noise"] = math.fsum(row[j] for j in other) / kept
        pairs = [(row[s] > row[d]) + 0.5 * (row[s] == row[d]) for s in same for d in other]
        if len(same) >= 2:
            result["auc"] = sum(pairs) / len(pairs)
            precision = []
            for s in same:
                above = [j for j in same + other if row[j] >= row[s]]
                precision.append(sum(j in same for j in above) / len(above))
            result["average_precision"] = sum(precision) / len(precision)
    if len(same) >= 2:
        own = math.fsum(row[j] for j in same)
        result["intraclass_noise"] = result["hollow_fraction"] = 1.0
        if own > 0:
            entropy = -sum(row[j] / own * math.log(row[j] / own) for j in same if row[j] > 0)
            result["intraclass_noise"] = 1 - entropy / math.log(len(same))
            result["hollow_fraction"] = sum(row[j] < threshold * own / len(same) for j in same) / len(same)
    return result


def sums_of(rows, labels, queries):
    """The RowSums of some rows, in plain loops."""
    classes = sorted(set(labels) - {IGNORE})
    found = []
    for row, query in zip(rows, queries, strict=True):
        others = [j for j in range(len(row)) if j != query and labels[j] != IGNORE]
        same = [j for j in others if labels[j] == labels[query]]
        mean = sum(row[j] for j in same) / len(same)
        found.append(
            (
                [sum(row[j] for j in others if labels[j] == c) for c in classes],
                sum(row[j] * math.log(row[j]) for j in same),
                sum(row[j] * math.log(row[j]) for j in others),
                max(row[j] for j in others),
                sum(row[j] < 0.25 * mean for j in same),
            )
        )
    return noise.RowSums(*(np.array(column) for column in zip(*found, strict=True)))
