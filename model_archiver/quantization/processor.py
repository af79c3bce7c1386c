"""What this machine's processor can compute in low precision, for the option --quantize; only Linux tells."""

from pathlib import Path
from typing import Any

from model_archiver.errors import ModelArchiverError

CPU_INFO = Path("/proc/cpuinfo")
FASTER_WITH = {"int8": ("avx512_vnni", "avx_vnni"), "bf16": ("avx512_bf16", "amx_bf16")}
"""What makes a precision faster, by Linux's names."""
_IMPOSSIBLE_WITHOUT = {"bf16": ("avx512f", "avx512bw", "avx512vl", "avx512dq")}
"""What oneDNN has no way around."""


def check_processor(precision: str) -> None:
    """Refuse a precision that MXNet cannot compute on this processor. Raises `ModelArchiverError`."""
    flags = _describe().get("flags", "").split()
    missing = [flag for flag in _IMPOSSIBLE_WITHOUT.get(precision, ()) if flag not in flags]
    if flags and missing:
        raise ModelArchiverError(
            f"MXNet computes in {precision} only on a processor with AVX-512; this one lacks {', '.join(missing)}. "
            "Package on a machine that has it, and serve on such machines only; or use int8, or stay with fp32."
        )


def describe_processor(precision: str) -> dict[str, Any]:
    """Return the processor's name, and those of its instructions that make the precision faster."""
    known = _describe()
    flags = known.get("flags", "").split()
    return {
        "name": known.get("model name", ""),
        "instructions": [flag for flag in FASTER_WITH[precision] if flag in flags],
    }


def _describe() -> dict[str, str]:
    if not CPU_INFO.is_file():
        return {}
    pairs = (line.partition(":") for line in CPU_INFO.read_text(errors="replace").splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
