"""JSON as its standard has it: without NaN and the infinities that Python's reads and writes."""

import json
import math
from typing import NoReturn


def compact_json(value: object) -> str:
    """Return `value` as JSON without spaces, non-ASCII and the order of keys kept.

    :raises TypeError: if it holds what has no JSON form.
    :raises ValueError: if it holds NaN, an infinity, or itself.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities: the `parse_constant` of a json.loads."""
    raise ValueError(f"{name} is no JSON number")


def finite(number: str) -> float:
    """Return the number, and refuse one beyond the floats: the `parse_float` of a json.loads."""
    value = float(number)
    return value if math.isfinite(value) else refuse_constant(number)
