"""Dimensions that are numbers or symbols, and their arithmetic.

A symbol stands for one number in the whole graph. A product that a Reshape merged is written
"12*batch_size".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Dim = int | str
Shape = tuple[Dim, ...]


def broadcast_dims(*shapes: Shape) -> Shape | None:
    """Shape of an elementwise result, or None if it depends on what a symbol stands for."""
    rank = max(len(s) for s in shapes)
    result: list[Dim] = []
    for dims in zip(*(((1,) * (rank - len(s)) + s) for s in shapes), strict=True):
        wide = {d for d in dims if d != 1}
        numbers = [d for d in wide if isinstance(d, int)]
        if len(wide) <= 1:
            result.append(wide.pop() if wide else 1)
        elif len(numbers) == 1:  # a symbol beside a number above 1 is that number, or 1
            result.append(numbers[0])
        else:
            return None
    return tuple(result)


def divide_dims(whole: Shape, parts: Sequence[Dim]) -> Dim | None:
    """Return the one dimension that times `parts` gives as many elements as `whole`, or None."""
    number, symbols = dim_factors(whole)
    divisor, taken = dim_factors(parts)
    if divisor == 0 or number % divisor or taken - symbols:
        return None
    left = sorted((symbols - taken).elements())
    number //= divisor
    return "*".join(([str(number)] if number > 1 else []) + left) if left else number


def dim_factors(dims: Sequence[Dim]) -> tuple[int, Counter[str]]:
    """Return the product of dimensions as a number and symbols with their powers."""
    number, symbols = 1, Counter[str]()
    for dim in dims:
        for factor in str(dim).split("*"):
            if factor.isdecimal():
                number *= int(factor)
            else:
                symbols[factor] += 1
    return number, symbols
