"""Exact batched Kokoro synthesis: many voices, many texts, in one call."""

import os

# oneDNN compiles a convolution for every new shape, about 1 ms each on CPU, and keeps 1024 of them by
# default: fewer than a fit's lengths times its layers. It reads this at its first convolution.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")

from coconut.synthesis.load import load_model, stock_voices, style_prior
from coconut.synthesis.script import Script
from coconut.synthesis.synthesizer import Audio, Prosody, Synthesizer

__all__ = ["Audio", "Prosody", "Script", "Synthesizer", "load_model", "stock_voices", "style_prior"]
