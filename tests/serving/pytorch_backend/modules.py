"""The modules that the contract is shown with; each does little, so that its answer says what it was given."""

from typing import Any

import torch
from torch import Tensor, nn


class Subtract(nn.Module):
    """Not commutative, so that swapped arguments show; its other outputs say what it ran under and on how many rows."""

    def forward(self, minuend: Tensor, subtrahend: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        difference = minuend - subtrahend
        rows = torch.full([difference.size(0), 1], difference.size(0), dtype=torch.int32)
        return difference, torch.full_like(rows, int(difference.is_inference())), rows


class Count(nn.Module):
    """Counts its calls, and takes its time between reading and writing, so that two at a time would count as one."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        number = self.calls + 1
        waste = torch.ones(400, 400)
        for _ in range(20):
            waste = torch.tanh(waste @ waste)
        self.calls.copy_(number + 0 * waste.sum())
        return X * 0 + number


class Answer(nn.Module):
    """Answers in the way that the first element of its input names."""

    def forward(self, MODE: Tensor) -> Any:  # noqa: N803
        mode = int(MODE[0, 0].item())
        good = MODE.to(torch.float32)
        # One return: TorchScript crashes on early ones of different types.
        answer: Any = (good, good)
        if mode == 1:
            answer = torch.tensor(1.0)
        if mode == 2:
            answer = MODE.to(torch.float64)
        if mode == 3:
            answer = good[:-1]
        if mode == 4:
            raise ValueError("mode four")
        if mode == 5:
            answer = {"Y": good}
        if mode == 6:
            answer = (good, (good, good))
        if mode == 7:
            answer = [good]
        if mode == 8:
            answer = ["text"]
        if mode == 9:
            answer = good
        if mode == 10:
            answer = torch.cat([good, good])
        if mode == 11:
            answer = torch.cat([good, good], dim=1)[:, :1]
        return answer


class Unbatched(nn.Module):
    def forward(self, X: Tensor, TEXT: list[str]) -> tuple[Tensor, list[str]]:  # noqa: N803
        return torch.tensor(X.size(), dtype=torch.int64), [text.upper() for text in TEXT]


class Shout(nn.Module):
    def forward(self, TEXT: list[str]) -> list[str]:  # noqa: N803
        return [text + "!" for text in TEXT]


class Pair(nn.Module):
    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        return X, X * 2


class Dictionary(nn.Module):
    def forward(self, given: dict[str, Tensor]) -> Tensor:
        return given["minuend"] - given["subtrahend"]


class Both(nn.Module):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return a


class Running(nn.Module):
    """Sums a sequence's numbers up: in the module itself, as Triton's own TorchScript models of sequences do."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros([1, 1]))

    def forward(self, X: Tensor, START: Tensor, READY: Tensor) -> Tensor:  # noqa: N803
        self.total.copy_((torch.where(START == 1, torch.zeros_like(self.total), self.total) + X) * READY)
        return self.total.clone()


class Slots(nn.Module):
    """Sums up in the module what each slot of a batch is sent; answers the sum, the ready slots and all."""

    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("totals", torch.zeros([4, 1]))

    def forward(self, X: Tensor, START: Tensor, READY: Tensor) -> Tensor:  # noqa: N803
        rows = X.size(0)
        kept = self.totals[:rows].clone()
        totals = torch.where(START == 1, torch.zeros_like(kept), kept) + X
        self.totals[:rows] = torch.where(READY == 1, totals, kept)
        counts = torch.stack([READY.sum(), torch.tensor(rows)]).to(X.dtype).repeat(rows, 1)
        return torch.cat([totals, counts], dim=1)


class Controls(nn.Module):
    """Answers what Triton said of the place in the sequence, and whether it said so in the types that it should."""

    def forward(self, X: Tensor, START: Tensor, END: Tensor, READY: Tensor, ID: Tensor) -> Tensor:  # noqa: N803
        numbers = START.dtype == torch.int32 and END.dtype == torch.float32 and ID.dtype == torch.int64
        typed = torch.full_like(X, float(numbers and READY.dtype == torch.bool))
        told = [START.to(X.dtype), END.to(X.dtype), READY.to(X.dtype), ID.to(X.dtype)]
        return torch.cat([X, torch.cat(told, dim=1), typed], dim=1)


class Kept(nn.Module):
    """Sums a sequence's numbers up in a state that Triton keeps; answers the sum and the state that it was given."""

    def forward(self, X: Tensor, START: Tensor, SUM: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        total = torch.where(START == 1, torch.zeros_like(SUM), SUM) + X
        return total, total


class Carried(nn.Module):
    """Adds to the state that it is given, whatever that was at the start."""

    def forward(self, X: Tensor, SUM: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        total = SUM + X
        return total, total


class LacksOne(nn.Module):
    """Answers all elements of the batch but the last."""

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        return X[:-1]


class Types(nn.Module):
    """Answers what it was given, one of each type."""

    def forward(
        self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor, g: Tensor, h: Tensor, i: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        return a, b, c, d, e, f, g, h, i


class Ragged(nn.Module):
    """Answers twice its ragged input, flat, and on every row of the batch all that it was told about that input."""

    def forward(
        self,
        X: Tensor,  # noqa: N803
        SCALE: Tensor,  # noqa: N803
        count: Tensor,
        accumulated: Tensor,
        with_zero: Tensor,
        longest: Tensor,
        item_shape: Tensor,
        item_shape_flat: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        told = torch.zeros([7, 10])
        for row, each in enumerate(
            [count, accumulated, with_zero, torch.zeros_like(longest), item_shape.view(-1), item_shape_flat, X]
        ):
            told[row, 0] = each.dim()
            told[row, 1] = each.size(0)
            told[row, 2 : 2 + min(8, each.size(0))] = each[:8].to(torch.float32)
        told[4, 0] = item_shape.dim()
        told[4, 1] = item_shape.size(0)
        return X * 2, SCALE * 2, told.unsqueeze(0).repeat(item_shape.size(0), 1, 1)
