"""Benchmarks: `synth.py` of the synthesis, `strategies.py` of the strategies against their peers."""
