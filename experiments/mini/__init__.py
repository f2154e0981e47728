"""Training of the embedded model: data by espeak-ng, two halves, assembly. See `experiments/mini/pretrain.py`."""
