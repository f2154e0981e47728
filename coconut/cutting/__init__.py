"""Long recordings cut into pieces, each with its part of the text, by the model's own voice.

The text is spoken (template.py), the recording is followed through it (track.py), and cut where a pause lies between
two words (pieces.py).
"""

from coconut.cutting.cutter import Cutter

__all__ = ["Cutter"]
