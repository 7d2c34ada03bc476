"""The smallest possible solver: a strictly convex quadratic over a few numbers, none of them negative."""

from collections.abc import Sequence

Vector = list[float]
Matrix = list[Vector]

_TOLERANCE = 1e-10


def nonnegative_minimum(gram: Sequence[Sequence[float]], pull: Sequence[float]) -> Vector:
    """The x >= 0 with the least x'Gx/2 - p'x, for a symmetric positive definite G.

    Lawson and Hanson's active sets: exact after a few eliminations, where going from coordinate to coordinate would
    take thousands of rounds once two columns look alike, as they do when only one shape was measured.
    """
    size = len(pull)
    solution = [0.0] * size
    free: list[int] = []
    least = _TOLERANCE * max(1.0, *(abs(value) for value in pull))
    for _ in range(
        10 * size
    ):  # more rounds than there are sets worth a visit; rounding errors must not keep it for ever
        gradient = [pull[i] - sum(gram[i][j] * solution[j] for j in free) for i in range(size)]
        bound = [i for i in range(size) if i not in free and gradient[i] > least]
        if not bound:
            break
        free.append(max(bound, key=lambda i: gradient[i]))
        solution = _settled(gram, pull, solution, free)
    return solution


def _settled(gram: Sequence[Sequence[float]], pull: Sequence[float], before: Vector, free: list[int]) -> Vector:
    """The minimum over the free numbers; those that would become negative stop at 0 and are free no more."""
    while free:
        wanted = solve([[gram[i][j] for j in free] for i in free], [pull[i] for i in free])
        if min(wanted) > 0.0:
            after = [0.0] * len(before)
            for i, value in zip(free, wanted, strict=True):
                after[i] = value
            return after
        step, stopping = min(
            (before[i] / (before[i] - value) if before[i] > value else 0.0, i)
            for i, value in zip(free, wanted, strict=True)
            if value <= 0.0
        )
        before = list(before)
        for i, value in zip(free, wanted, strict=True):
            before[i] = max(0.0, before[i] + step * (value - before[i]))
        before[stopping] = 0.0
        free.remove(stopping)
    return [0.0] * len(before)


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> Vector:
    """The solution of a system of linear equations with one solution."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, size):
            factor = rows[row][column] / rows[column][column]
            for k in range(column, size + 1):
                rows[row][k] -= factor * rows[column][k]
    solution = [0.0] * size
    for row in reversed(range(size)):
        rest = sum(rows[row][k] * solution[k] for k in range(row + 1, size))
        solution[row] = (rows[row][size] - rest) / rows[row][row]
    return solution
