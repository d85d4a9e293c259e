"""What the processor is and can do."""

import functools
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor's name and its instruction sets, by their names in Linux's /proc/cpuinfo.

    `flags` is empty where the system does not list them.
    """

    name: str
    flags: frozenset[str]

    @property
    def has_bf16(self) -> bool:
        """True if it multiplies bfloat16 numbers."""
        return not self.flags.isdisjoint({"avx512_bf16", "amx_bf16"})

    @property
    def has_amx(self) -> bool:
        """True if it has matrix units for bfloat16."""
        return "amx_bf16" in self.flags


@functools.cache
def this_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Return the processor of this machine."""
    facts: dict[str, str] = {}
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, colon, value = line.partition(":")
                if not colon:
                    break  # the other cores are like the first
                facts[key.strip()] = value.strip()
    except OSError:
        pass
    return Processor(
        name=facts.get("model name") or platform.processor() or platform.machine(),
        flags=frozenset(facts.get("flags", "").split()),
    )
