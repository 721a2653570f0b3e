"""How much memory a device can still give out."""

from __future__ import annotations

import torch

from datasets.memory import free_ram


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where nobody tells.

    Of main memory, what the machine and this process's limits leave; of a CUDA device, what the
    driver has free and this process holds without using it.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_ram() or None if device.type == "cpu" else None
