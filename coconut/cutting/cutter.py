"""Long recordings with one text, cut into pieces with theirs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from coconut import cached, resources
from coconut.audio import files
from coconut.audio.voice import Bands
from coconut.config import EMBEDDED, FitConfig, InputError
from coconut.cutting.pieces import LONGEST, SECONDS, SHORTEST, SURE, Piece, pieces
from coconut.cutting.sound import Floats, Heard, heard
from coconut.cutting.template import Template, context, turn
from coconut.cutting.track import STRANGE, track
from coconut.cutting.words import Word, words
from coconut.data import Item
from coconut.data.treated import Shelf
from coconut.synthesis import Synthesizer
from coconut.text import ENGLISH

KIND = "pieces"  # of what is kept in the cache
MOST = 2**26  # bytes of all that is kept there
UNSURE = "text not sure"
AROUND = 0.1  # s of a pause that stay with a piece
TRIED = 4  # voices, on the beginning:
BEGINNING = 1600  # rows
UTTERED = 60.0  # s that one sentence takes at most


class Cutter:
    """cutter(item): the pieces of a long recording as items of their own; nothing where it is none.

    English is spoken by the embedded model, any other language by that of `config`, in the voice that comes nearest
    to the recording that is cut first. Where pieces lie is kept in the user's cache folder, as far as somebody asked.
    """

    def __init__(self, config: FitConfig) -> None:
        self.config = config
        self.longest = min(LONGEST, config.max_seconds)
        self.tried: list[str] = []  # voices; after the first recording the one that is nearest

    def __call__(self, item: Item) -> Iterator[Item]:
        """Raises InputError where the model cannot be had."""
        if item.audio is None or not item.text or item.phonemes or self.longest < 2 * SHORTEST:
            return
        shelf, tried = self._shelf(item.audio, item.text), self.tried
        kept = shelf.read() or {"pieces": [], "whole": False, "tried": tried}
        known, whole, self.tried = [Piece(*values) for values in kept["pieces"]], kept["whole"], kept["tried"]
        yield from (self._item(item, piece) for piece in known)
        if whole:
            return
        self.tried = tried
        try:
            for piece in itertools.islice(self._pieces(item), len(known), None):
                known.append(piece)
                yield self._item(item, piece)
            whole = True
        finally:  # of those who take some pieces only, too
            shelf.write({"pieces": [dataclasses.astuple(p) for p in known], "whole": whole, "tried": self.tried})
            cached.tidy(KIND, MOST)

    def _shelf(self, audio: Path | bytes, text: str) -> Shelf:
        settings = [self.config.lang, self.longest, self.config.max_seconds, self.config.seed, self.config.device]
        return Shelf.of(audio, KIND, text, settings, self._weights, self.tried)

    @cached_property
    def _weights(self) -> list[str]:
        """Digests of the model that speaks the texts: of many megabytes, the same for each recording."""
        model = self._model()
        return [cached.digest_of(model.network.state_dict()), cached.digest_of(model.voices)]

    def _pieces(self, item: Item) -> Iterator[Piece]:
        """As they are found."""
        assert item.audio is not None
        try:
            sound = heard(Bands().of(files.pieces(item.audio, item.name)))
        except InputError:  # which the reader says
            return
        if len(sound.places) * SECONDS <= self.config.max_seconds:
            return
        spoken = words(item.text or "", self.config.lang)
        if not spoken:
            return
        template = self._template(sound, spoken)
        path = track(sound, template, label=f"following {item.name} through its text")
        yield from pieces(sound, template, path, self.longest)

    def _model(self) -> resources.Model:
        return resources.model(EMBEDDED if self.config.lang in ENGLISH else self.config.model, self.config.device)

    def _template(self, sound: Heard, spoken: list[Word]) -> Template:
        model = self._model()
        synth = Synthesizer(model.network, self.config.seed, max_seconds=UTTERED)  # goes with the texts it remembers
        if not self.tried:
            names = sorted(model.voices)
            self.tried = [names[k] for k in np.linspace(0, len(names) - 1, min(TRIED, len(names))).round().astype(int)]
        found = [_begun(sound, Template(synth, model.voices[voice], spoken, sound.noise)) for voice in self.tried]
        best = min(range(len(found)), key=lambda k: found[k][0])
        self.tried = [self.tried[best]]
        return Template(synth, model.voices[self.tried[0]], spoken, sound.noise, found[best][1])

    def _item(self, item: Item, piece: Piece) -> Item:
        """Of a piece, its sound as it is in the file; with its problem where there is one."""
        end = piece.start + piece.seconds
        name = f"{item.name}, {_clock(piece.start)} to {_clock(end)}"
        problem = _problem(piece, self.longest)
        if problem:
            return Item(name, None, piece.text, problem=problem, reason=UNSURE)
        assert item.audio is not None
        start = max(0.0, piece.start - AROUND)
        return Item(name, files.excerpt(item.audio, start, end + AROUND - start, item.name), piece.text)


def _begun(sound: Heard, template: Template) -> tuple[float, Floats]:
    """How far the template's voice is from a recording at its beginning, and what turns it into the speaker's."""
    beginning = Heard(sound.cepstra[:BEGINNING], sound.places[:BEGINNING], sound.pauses[:BEGINNING], sound.noise)
    paths = list(track(beginning, template, STRANGE))
    columns = np.concatenate([path.columns for path in paths])
    costs = np.concatenate([path.costs for path in paths])
    said = ~template.filler[columns]
    turned = turn(context(template.features)[columns[said]], beginning.cepstra[said])
    return float(costs.mean()), turned


def _problem(piece: Piece, longest: float) -> str | None:
    if piece.seconds < SHORTEST:
        return f"{piece.seconds:.1f} s between two pauses, less than {SHORTEST:g}"
    if piece.seconds > longest:
        return f"{piece.seconds:.1f} s without a pause, more than {longest:g}"
    if piece.confidence < SURE:
        return f"what is said there is not surely the text (confidence {piece.confidence:.2f}, {SURE:g} is needed)"
    return None


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
