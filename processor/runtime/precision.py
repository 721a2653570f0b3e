"""Mixed precision: the number format for a device, and the scaled optimizer step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from processor.runtime.float32 import full_precision

_BF16_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def choose_precision(
    mode: str, device: torch.device, option: str = "SOLVER.AMP"
) -> torch.dtype | None:
    """The autocast format of SOLVER.AMP or TEST.AMP; None computes in float32.

    Args:
        mode: off | fp16 | bf16 | auto; auto takes bf16 if the device supports it natively, fp16 on
            older GPUs, float32 otherwise.
        device: where the model runs.
        option: of the mode, for the error message.

    Raises:
        ValueError: the device cannot compute in that format.
    """
    if mode == "auto":
        mode = _native_format(device)
    if mode == "off":
        return None
    if mode == "fp16" and device.type == "cpu":
        raise ValueError(
            f"{option}: fp16 needs a GPU, a CPU computes in bf16 or float32; set auto, bf16 or off"
        )
    return torch.float16 if mode == "fp16" else torch.bfloat16


def _native_format(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16() else "off"
    return "off"


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux: asking would need another package
        return False
    return any(flag in flags for flag in _BF16_CPU_FLAGS)


class Precision:
    """Autocast for forward passes and, for fp16, loss scaling.

    Args:
        dtype: torch.float16, torch.bfloat16, or None for float32.
        device: where the model runs.
    """

    def __init__(self, dtype: torch.dtype | None, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self._scale = self._scaler.get_scale()

    @classmethod
    def of(cls, mode: str, device: torch.device, option: str = "SOLVER.AMP") -> Precision:
        """The precision of SOLVER.AMP or TEST.AMP on a device; raises as `choose_precision`."""
        return cls(choose_precision(mode, device, option), device)

    @property
    def name(self) -> str:
        """float32, bfloat16 or float16."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    @property
    def on_cuda(self) -> bool:
        """Whether batches should be in page-locked memory."""
        return self.device.type == "cuda"

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of a forward pass."""
        if self.dtype is None:
            return full_precision(self.device)
        return torch.autocast(self.device.type, dtype=self.dtype)

    def step(self, loss: Tensor, optimizers: list[Optimizer]) -> None:
        """Backward pass and one step of every optimizer."""
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        with full_precision(self.device) if self.dtype is None else nullcontext():
            self._scaler.scale(loss).backward()
        for optimizer in optimizers:
            self._scaler.step(optimizer)
        self._scaler.update()

    def step_happened(self) -> bool:
        """Whether the last step changed the weights; call after every step or never.

        An fp16 step whose gradients overflow is skipped and lowers the loss scale, which is read
        from the device.
        """
        before, self._scale = self._scale, self._scaler.get_scale()
        return self._scale >= before

    def state_dict(self) -> dict[str, Any]:
        """The loss scale; empty unless fp16."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved loss scale."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)
            self._scale = self._scaler.get_scale()
