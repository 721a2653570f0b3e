"""How much memory a device can still give out."""

from __future__ import annotations

from pathlib import Path

import torch


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where nobody tells.

    Of main memory, what Linux can give without swapping (MemAvailable of proc(5)); of a CUDA
    device, what the driver has free and this process holds without using it.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _main_memory() if device.type == "cpu" else None


def _main_memory(table: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = table.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
