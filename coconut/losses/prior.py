"""Distance from the stock voices: what keeps a search where the model was trained."""

from __future__ import annotations

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.data import Utterance
from coconut.losses.synthesis import Synthesis, narrow
from coconut.synthesis.transfer import upload
from coconut.voicepack import STYLE


class PriorTerm:
    """Mean over 256 dims of ((style - mean) / spread)^2 among stock voices, on the row each text reads.

    About 1 for a voice of the stock. `stock` [V, 510, 256]. The spread of a dim is that of row
    means, the same for all rows, and at least a tenth of the median spread, so that dims in which
    stock voices agree do not outweigh all others.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu", stock: Tensor | None = None) -> None:
        if stock is None or len(stock) < 2:
            raise InputError("The prior term needs at least 2 stock voices; set loss.prior to 0.")
        stock = stock.reshape(len(stock), -1, STYLE).to(device, torch.float32)
        self.mean = stock.mean(0)
        spread = stock.mean(1).std(0)
        self.spread = spread.clamp_min(0.1 * float(spread.median())).clamp_min(1e-6)

    def reference(self, utterance: Utterance) -> None:
        """Nothing: the prior does not look at recordings."""

    def __call__(self, refs: list[None], syn: Synthesis) -> Tensor:
        mean = self.mean[upload(syn.rows, self.mean.device)]
        return ((narrow(syn.styles).to(mean.device) - mean) / self.spread).square().mean(-1)
