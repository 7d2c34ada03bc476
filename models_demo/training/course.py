"""A training from its first to its last step: interrupted anywhere it goes on from its newest checkpoint."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_WARM_UP = 200
_SAVE_SECONDS = 120.0
_TELL_STEPS = 50
_MEMORY = 0.999


class Course:
    """Trains modules by a loss. The weights worth keeping are means over the last thousand or so steps.

    What a step draws depends on its number alone, so a training that was interrupted ends as one that was not.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        model: Any,
        *,
        steps: int,
        rate: float,
        matrices: float = 0.0,
        is_inner: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        """`rate` is that of AdamW; with `matrices`, weights named as inner ones learn at that rate by Muon."""
        self.name = name
        self.model = model.train()
        self._file = folder / f"{name}.pt"
        self._steps = steps
        inner = [p for name, p in model.named_parameters() if matrices and p.ndim >= 2 and is_inner(name)]
        known = {id(p) for p in inner}
        others = [p for p in model.parameters() if id(p) not in known]
        self._optimizers: list[Any] = [torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)]
        # Muon takes matrices only: kernels are given to it as such, in the same memory.
        self._matrices = [(p, torch.nn.Parameter(p.data.flatten(1))) for p in inner]
        if inner:
            twins = [twin for _, twin in self._matrices]
            self._optimizers.append(
                torch.optim.Muon(twins, lr=matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
            )
        self._rates = [group["lr"] for optimizer in self._optimizers for group in optimizer.param_groups]
        self.mean = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.done = 0
        self.spent = 0.0
        self.kept: dict[str, Any] = {}
        """What else it takes to go on."""
        if self._file.exists():
            self._go_on(torch.load(self._file, weights_only=False))

    def finish(self, loss: Callable[[int, random.Random], torch.Tensor]) -> None:
        """Take all steps that are missing, then give the model the mean weights."""
        began, saved, lately = time.monotonic(), time.monotonic(), list[float]()
        try:
            while self.done < self._steps:
                lately.append(self._step(loss))
                now = time.monotonic()
                if self.done % _TELL_STEPS == 0:
                    print(
                        f"{self.name}: step {self.done} of {self._steps}, loss {sum(lately) / len(lately):.4f}",
                        flush=True,
                    )
                    lately.clear()
                if now > saved + _SAVE_SECONDS:
                    self._save(self.spent + now - began)
                    saved = now
        finally:
            self.spent += time.monotonic() - began
            self._save(self.spent)
        self.model.load_state_dict(self.mean)
        self.model.eval()

    def _step(self, loss: Callable[[int, random.Random], torch.Tensor]) -> float:
        torch.manual_seed(self.done)
        value = loss(self.done, random.Random(self.done))
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        pace = min(1.0, (self.done + 1) / _WARM_UP) * (1 - self.done / self._steps)
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * pace
        for own, twin in self._matrices:
            twin.grad = None if own.grad is None else own.grad.flatten(1)
        for optimizer in self._optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        self.done += 1
        memory = min(_MEMORY, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            for name, value_now in self.model.state_dict().items():
                if value_now.is_floating_point():
                    self.mean[name].lerp_(value_now, 1 - memory)
        return value.item()

    def _save(self, spent: float) -> None:
        draft = self._file.with_suffix(".draft")
        torch.save(
            {
                "done": self.done,
                "spent": spent,
                "model": self.model.state_dict(),
                "mean": self.mean,
                "kept": self.kept,
                "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            },
            draft,
        )
        draft.replace(self._file)

    def _go_on(self, kept: dict[str, Any]) -> None:
        self.done, self.spent, self.mean = kept["done"], kept["spent"], kept["mean"]
        self.kept = kept.get("kept", {})  # checkpoints of before 2026-11-28 have no such thing
        try:
            self.model.load_state_dict(kept["model"])
        except RuntimeError:
            raise ValueError(f"{self._file} is of a model with other parts or sizes: delete it to start anew") from None
        for optimizer, state in zip(self._optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
