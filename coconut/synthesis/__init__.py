"""Exact batched Kokoro synthesis: many voices, many texts, in one call."""

from coconut.synthesis.load import load_model, stock_voices
from coconut.synthesis.script import Script
from coconut.synthesis.synthesizer import Audio, Prosody, Synthesizer

__all__ = ["Audio", "Prosody", "Script", "Synthesizer", "load_model", "stock_voices"]
