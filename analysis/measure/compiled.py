"""The passes over a block of queries in compiled loops, by Numba: what `PlainPasses` do, in one go each.

A pass of torch reads and writes the whole block; a compiled one does all that is to be done to a key's M values while
they are in the first cache. Powers and logarithms are computed from a float's exponent and a series for the rest, both
in loops that the compiler turns into vector instructions. Everything is sequential: the threads of
`analysis.threads.share` each work on blocks of their own, and Python's lock is let go of meanwhile.

Loops are compiled once for each precision, on first use, which takes some ten seconds; the result is kept on disk.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload
from torch import Tensor

from analysis.measure.passes import HOLLOW_THRESHOLDS, Place, Rows, Softmax
from analysis.noise import DetectionScores, RowSums, hollow_share

# Keys that are summed up in the values' own precision before they join the total, which is in double precision.
PIECE = 32

# A product and a sum may become one instruction; nothing is taken out of order, and −0, NaN and infinity are kept.
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


class CompiledPasses:
    """`Passes` by Numba."""

    def softmax(self, scores: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        rows = scores.numpy()
        peaks, strongest = _peaks(rows, order)
        totals = np.zeros(len(peaks))
        if place is None:
            _powers(rows, peaks, totals)
            return Softmax(Rows(scores, None), totals, strongest)
        sums = _Sums(rows, place)
        _softmax(rows, peaks, totals, *sums.arrays)
        return Softmax(Rows(scores, sums.finish()), totals, strongest)

    def finished(self, values: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        rows = values.numpy()
        strongest, totals = _peaks(rows, order)[1], np.ones(rows.shape[1])
        if place is None:
            return Softmax(Rows(values, None), totals, strongest)
        sums = _Sums(rows, place)
        _add_all(rows, *sums.arrays)
        return Softmax(Rows(values, sums.finish()), totals, strongest)

    def gate(self, similarity: Tensor, values: Tensor, place: Place, *, sigmoid: bool) -> Rows:
        rows = similarity.numpy()
        sums = _Sums(rows, place)
        _rectify(rows, values.numpy(), sigmoid, *sums.arrays)
        return Rows(similarity, sums.finish())

    def retain(self, values: Tensor, neighbours: Tensor, weights: Tensor, out: Tensor, place: Place) -> Rows:
        rows = out.numpy()
        sums = _Sums(rows, place)
        _retain(values.numpy(), neighbours.numpy(), weights.numpy(), rows, *sums.arrays)
        return Rows(out, sums.finish())

    def detection(self, values: Tensor, place: Place, chosen: np.ndarray) -> DetectionScores:
        rows = values.numpy()
        keys = np.empty((len(chosen), place.labelled), f"u{rows.itemsize}")
        _mark(rows, *place.runs[place.own], place.first, chosen, keys)
        keys.sort(axis=1)
        scores = DetectionScores(*np.empty((2, len(chosen))))
        _rank(keys, *scores)
        return scores


class _Sums:
    """The sums of rows of M queries, which loops add to `arrays`: by_class and Σ a log2 a (C×M), the highest (M)."""

    def __init__(self, rows: np.ndarray, place: Place) -> None:
        self.rows, self.place = rows, place
        self.by_class, self.log_by_class = np.zeros((2, len(place.runs), rows.shape[1]))
        self.highest = np.zeros(rows.shape[1], rows.dtype)
        self.arrays = np.array(place.runs), place.first, self.by_class, self.log_by_class, self.highest

    def finish(self) -> RowSums:
        """What was added up."""
        own = self.place.own
        shares = np.array([hollow_share(threshold, self.rows.dtype.name) for threshold in HOLLOW_THRESHOLDS])
        below = np.empty((len(shares), len(self.highest)))
        _below(self.rows, *self.place.runs[own], self.place.first, self.by_class[own], shares, below)
        natural = math.log(2) * self.log_by_class
        return RowSums(self.by_class.T, natural[own], natural.sum(axis=0), self.highest.astype(float), below.T)


# --- a float's bits --------------------------------------------------------------------------------------------------


@intrinsic
def _bits(context, number):
    """A float's bits as a whole number of its width."""
    whole = types.int32 if number == types.float32 else types.int64
    return whole(number), lambda target, builder, signature, given: builder.bitcast(
        given[0], target.get_value_type(whole)
    )


@intrinsic
def _float(context, bits):
    """The float that has these bits."""
    number = types.float32 if bits == types.int32 else types.float64
    return number(bits), lambda target, builder, signature, given: builder.bitcast(
        given[0], target.get_value_type(number)
    )


def log2(number):
    """Logarithm to base 2 of a positive normal float, to less than three units of its last place; finite for 0.

    number = m·2^e with √½ ≤ m < √2, and log m = 2 artanh s with s = (m − 1)/(m + 1), |s| < 0.172.
    """
    raise NotImplementedError  # compiled code alone calls it


def exp2(number):
    """2 to the power of a float that is at most 0, to about one unit of its last place, or of the smallest number.

    number = n + f with |f| ≤ ½, and 2^f = Σ (f log 2)^k / k!. 2^n comes in two factors, each a normal number, so that
    what is below the normal ones is rounded once, as it should.
    """
    raise NotImplementedError  # compiled code alone calls it


# Terms of the two series: what is left out is below half a unit of the last place.
_LOG_TERMS = [2 / math.log(2) / (2 * k + 1) for k in range(10)]
_POWER_TERMS = [math.log(2) ** k / math.factorial(k) for k in range(14)]


@overload(log2, inline="always")
def _log2(number):
    if number == types.float32:
        c0, c1, c2, c3, c4 = map(np.float32, _LOG_TERMS[:5])
        one, shift, root = np.float32(1), np.int32(23), np.int32(0x3F3504F3)  # √½

        def single(number):
            exponent = np.int32(np.int32(_bits(number) - root) >> shift)
            m = _float(np.int32(_bits(number) - np.int32(exponent << shift)))
            s = (m - one) / (m + one)
            q = s * s
            return np.float32(exponent) + s * (c0 + q * (c1 + q * (c2 + q * (c3 + q * c4))))

        return single
    d0, d1, d2, d3, d4, d5, d6, d7, d8, d9 = _LOG_TERMS

    def double(number):
        exponent = (_bits(number) - 0x3FE6A09E667F3BCD) >> 52  # √½
        m = _float(_bits(number) - (exponent << 52))
        s = (m - 1.0) / (m + 1.0)
        q = s * s
        high = d5 + q * (d6 + q * (d7 + q * (d8 + q * d9)))
        return exponent + s * (d0 + q * (d1 + q * (d2 + q * (d3 + q * (d4 + q * high)))))

    return double


@overload(exp2, inline="always")
def _exp2(number):
    if number == types.float32:
        c0, c1, c2, c3, c4, c5, c6, c7 = map(np.float32, _POWER_TERMS[:8])
        half, least, shift, bias = np.float32(0.5), np.float32(-151), np.int32(23), np.int32(127)
        one_bit = np.int32(1)

        def single(number):
            bounded = max(number, least)
            whole = np.int32(bounded - half)  # towards 0, from below: the nearest
            f = bounded - np.float32(whole)
            power = c0 + f * (c1 + f * (c2 + f * (c3 + f * (c4 + f * (c5 + f * (c6 + f * c7))))))
            first = np.int32(whole >> one_bit)
            rest = np.int32(whole - first)
            power *= _float(np.int32(np.int32(first + bias) << shift))
            return power * _float(np.int32(np.int32(rest + bias) << shift))

        return single
    d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13 = _POWER_TERMS

    def double(number):
        bounded = max(number, -1076.0)
        whole = np.int64(bounded - 0.5)
        f = bounded - whole
        high = d7 + f * (d8 + f * (d9 + f * (d10 + f * (d11 + f * (d12 + f * d13)))))
        power = d0 + f * (d1 + f * (d2 + f * (d3 + f * (d4 + f * (d5 + f * (d6 + f * high))))))
        first = whole >> 1
        return power * _float((first + 1023) << 52) * _float((whole - first + 1023) << 52)

    return double


# --- the loops: over keys, and within over the M queries of a block --------------------------------------------------


@_compiled
def _peaks(rows, order):
    """The highest of each query, and the first cell that has it: N×M -> M, M."""
    queries = rows.shape[1]
    peaks = rows[0].copy()
    cells = np.full(queries, order[0])
    for n in range(1, len(rows)):
        row, cell = rows[n], order[n]
        for m in range(queries):
            better = (row[m] > peaks[m]) | ((row[m] == peaks[m]) & (cell < cells[m]))
            cells[m] = cell if better else cells[m]
            peaks[m] = max(peaks[m], row[m])
    return peaks, cells


@_compiled
def _powers(rows, peaks, totals):
    """2^(row − peak) in place, added to the totals."""
    piece = np.empty_like(peaks)
    for start in range(0, len(rows), PIECE):
        piece[:] = 0
        for n in range(start, min(start + PIECE, len(rows))):
            row = rows[n]
            for m in range(len(row)):
                row[m] = exp2(row[m] - peaks[m])
                piece[m] += row[m]
        for m in range(len(piece)):
            totals[m] += piece[m]


@_compiled
def _gates(similarity, values, sigmoid):
    """similarity · values, or σ(similarity) · values, in place of the similarity, which is at least 0."""
    one = similarity.dtype.type(1)
    to_base_2 = similarity.dtype.type(1 / math.log(2))
    for n in range(len(similarity)):
        gates, row = similarity[n], values[n]
        if sigmoid:
            for m in range(len(gates)):
                gates[m] = row[m] / (one + exp2(-to_base_2 * gates[m]))
        else:
            for m in range(len(gates)):
                gates[m] *= row[m]


@_compiled
def _neighbourhoods(values, neighbours, weights, retained):
    """The weighted sum of each key's k² neighbours, one after the other: keys with the same neighbours but for zeros
    go on to tie. k² is 1 more than a multiple of 4."""
    queries, count = values.shape[1], neighbours.shape[1]
    for n in range(len(neighbours)):
        row, near, weight = retained[n], neighbours[n], weights[n]
        first = values[near[0]]
        for m in range(queries):
            row[m] = weight[0] * first[m]
        for k in range(1, count, 4):
            a, b, c, d = values[near[k]], values[near[k + 1]], values[near[k + 2]], values[near[k + 3]]
            wa, wb, wc, wd = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for m in range(queries):
                row[m] = (((row[m] + wa * a[m]) + wb * b[m]) + wc * c[m]) + wd * d[m]


@_compiled
def _add(rows, itself_at, mass, log_mass, highest):
    """Add Σ a and Σ a log2 a of some keys of one class, and raise the highest: M each.

    itself_at: the key among them that is query 0 itself; the next is query 1, and so on.
    """
    piece, log_piece = np.zeros((2, rows.shape[1]), rows.dtype)
    for n in range(len(rows)):
        row, itself = rows[n], n - itself_at
        if 0 <= itself < len(row):
            given_to_itself = row[itself]
            row[itself] = 0
        for m in range(len(row)):
            piece[m] += row[m]
            log_piece[m] += row[m] * log2(row[m])  # 0 log 0 is 0, as the logarithm is finite
            highest[m] = max(highest[m], row[m])
        if 0 <= itself < len(row):
            row[itself] = given_to_itself
    for m in range(len(piece)):
        mass[m] += piece[m]
        log_mass[m] += log_piece[m]


# Each goes over the keys once, a few at a time: what is made of them is added up while it is in the first cache.


@_compiled
def _add_all(rows, runs, first, by_class, log_by_class, highest):
    """The sums of rows as they are; arguments as in `_Sums.arrays`."""
    for run in range(len(runs)):
        for start in range(runs[run, 0], runs[run, 1], PIECE):
            stop = min(start + PIECE, runs[run, 1])
            _add(rows[start:stop], first - start, by_class[run], log_by_class[run], highest)


@_compiled
def _softmax(rows, peaks, totals, runs, first, by_class, log_by_class, highest):
    for run in range(len(runs)):
        for start in range(runs[run, 0], runs[run, 1], PIECE):
            stop = min(start + PIECE, runs[run, 1])
            _powers(rows[start:stop], peaks, totals)
            _add(rows[start:stop], first - start, by_class[run], log_by_class[run], highest)
    _powers(rows[runs[-1, 1] :], peaks, totals)


@_compiled
def _rectify(similarity, values, sigmoid, runs, first, by_class, log_by_class, highest):
    for run in range(len(runs)):
        for start in range(runs[run, 0], runs[run, 1], PIECE):
            stop = min(start + PIECE, runs[run, 1])
            _gates(similarity[start:stop], values[start:stop], sigmoid)
            _add(similarity[start:stop], first - start, by_class[run], log_by_class[run], highest)
    _gates(similarity[runs[-1, 1] :], values[runs[-1, 1] :], sigmoid)


@_compiled
def _retain(values, neighbours, weights, retained, runs, first, by_class, log_by_class, highest):
    for run in range(len(runs)):
        for start in range(runs[run, 0], runs[run, 1], PIECE):
            stop = min(start + PIECE, runs[run, 1])
            _neighbourhoods(values, neighbours[start:stop], weights[start:stop], retained[start:stop])
            _add(retained[start:stop], first - start, by_class[run], log_by_class[run], highest)


@_compiled
def _below(rows, start, stop, first, mass, shares, below):
    """How many of the class's cells other than the query have less than each share of their mean: shares×M."""
    queries = rows.shape[1]
    limits = np.empty(queries, rows.dtype)
    counts = np.empty(queries, np.int32)
    for index in range(len(shares)):
        for m in range(queries):
            limits[m] = shares[index] * mass[m] / max(stop - start - 1, 1)
            counts[m] = -(rows[first + m, m] < limits[m])  # the query itself is among them
        for n in range(start, stop):
            row = rows[n]
            for m in range(queries):
                counts[m] += row[m] < limits[m]
        below[index] = counts


@_compiled
def _mark(rows, start, stop, first, chosen, keys):
    """The chosen queries' values as keys that sort like them, marked in their last bit where the cell is in S.

    As `analysis.noise.marked_keys`: the query's own cell comes behind everything, unmarked.
    """
    last, zero = keys.dtype.type(-2), rows.dtype.type(0)
    for index in range(len(chosen)):
        m, row = chosen[index], keys[index]
        for n in range(len(row)):
            row[n] = (_bits(rows[n, m] + zero) << 1) | (start <= n < stop)  # −0 becomes 0
        row[first + m] = last


@_compiled
def _rank(keys, pairs, precision):
    """AUC and average precision of sorted keys, whose last is the query's own; NaN without S or without D."""
    for index in range(len(keys)):
        row = keys[index, :-1]
        same, tied = 0, False
        for p in range(len(row)):
            same += _mark_of(row[p])
        for p in range(1, len(row)):
            tied |= (row[p] ^ row[p - 1]) < 2
        below, precise = _tied_sums(row, same) if tied else _sums_without_ties(row, same)
        pairs[index] = below / (same * (len(row) - same))
        precision[index] = precise / same


@_compiled
def _mark_of(key):
    return np.int64(key & type(key)(1))


@_compiled
def _sums_without_ties(row, same):
    """Over the cells of S: how many of D are below, and the precision there."""
    below, precise, seen = 0, 0.0, 0
    for p in range(len(row)):
        marked = _mark_of(row[p])
        below += marked * (p - seen)
        precise += marked * (same - seen) / (len(row) - p)
        seen += marked
    return float(below), precise


@_compiled
def _tied_sums(row, same):
    """What `_sums_without_ties` gives, a pair of equals counted by half and precision read at the end of them."""
    below, precise, seen, p = 0.0, 0.0, 0, 0
    while p < len(row):
        stop, marked = p, 0
        while stop < len(row) and row[stop] >> 1 == row[p] >> 1:
            marked += _mark_of(row[stop])
            stop += 1
        below += marked * (p - seen + (stop - p - marked) / 2)
        precise += marked * (same - seen) / (len(row) - p)
        seen, p = seen + marked, stop
    return below, precise
