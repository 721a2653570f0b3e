"""The device of a run and the memory available on it."""

from __future__ import annotations

import os

import torch

from datasets.images.placement import free_ram
from processor.runtime import distributed

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str, device_id: str = "0") -> torch.device:
    """The torch device of MODEL.DEVICE and MODEL.DEVICE_ID.

    Args:
        name: auto | cpu | cuda | mps; auto takes the first available of cuda, mps, cpu.
        device_id: index of the CUDA device; the first of a list "0,1".

    Raises:
        ValueError: the requested device is unknown or not available, or not a number.
    """
    first = str(device_id).split(",")[0].strip() or "0"
    if name in ("auto", "cuda") and not first.isdecimal():
        raise ValueError(
            f"MODEL.DEVICE_ID {device_id}: expected the number of a GPU, 0 or more; for the CPU "
            "set MODEL.DEVICE cpu"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    if name == "cuda":
        index = int(first)
        if distributed.size() > 1:
            index = distributed.local_rank()
            if torch.cuda.device_count() == 1 and VISIBLE in os.environ:
                index = 0  # as srun --gpus-per-task=1 shows every process its own GPU
            elif distributed.local_size() > torch.cuda.device_count():
                raise ValueError(
                    f"torchrun --nproc_per_node: {distributed.local_size()} processes on a machine "
                    f"with {torch.cuda.device_count()} GPUs; start one process per GPU"
                )
        if index >= torch.cuda.device_count():
            raise ValueError(
                f"MODEL.DEVICE cuda with MODEL.DEVICE_ID {device_id}: this machine has "
                f"{torch.cuda.device_count()} CUDA devices; set MODEL.DEVICE auto or cpu"
            )
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    if name == "mps" and not _has_mps():
        raise ValueError("MODEL.DEVICE mps: not available here; set MODEL.DEVICE auto or cpu")
    if name not in DEVICES:
        raise ValueError(f"MODEL.DEVICE {name}: expected one of {', '.join(DEVICES)}")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device in words, for logs and the run's record."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None if unknown.

    For main memory, the free memory within this process's limits; for a CUDA device, the driver's
    free memory plus the unused memory that this process has reserved.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_ram() or None if device.type == "cpu" else None
