"""Whisper writes the texts that are missing. The model here has the real architecture, is tiny, and knows one word."""

from contextlib import contextmanager

import pytest
import soundfile
import torch
from scipy.linalg import hadamard

from coconut import transcribe
from coconut.config import FitConfig, InputError
from coconut.data import Item
from coconut.job import collect
from coconut.transcribe import CHUNK, Transcriber
from tests.demo import recordings

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|fr|>", "<|transcribe|>", "<|notimestamps|>"]
HELLO = "Ġhello"  # byte-level BPE writes a space so
WIDTH = 16


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A folder as save_pretrained writes it. Whatever is heard, the model writes "hello", and ends."""
    import transformers

    folder = tmp_path_factory.mktemp("whisper")
    vocab = {token: place for place, token in enumerate([HELLO, *SPECIAL])}
    tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    model = transformers.WhisperForConditionalGeneration(_config(transformers, vocab))
    _teach(model, {token: vocab[SPECIAL[0] if token == vocab[HELLO] else HELLO] for token in vocab.values()})
    generation = model.generation_config
    generation._from_model_config = False  # else it is made anew when it is loaded
    generation.is_multilingual = True
    generation.lang_to_id = {token: vocab[token] for token in ("<|en|>", "<|fr|>")}
    generation.task_to_id = {"transcribe": vocab["<|transcribe|>"]}
    generation.no_timestamps_token_id = vocab["<|notimestamps|>"]
    model.save_pretrained(folder)
    return folder


def _config(transformers, vocab):
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    end = vocab["<|endoftext|>"]
    return transformers.WhisperConfig(
        vocab_size=len(vocab),
        d_model=WIDTH,
        decoder_start_token_id=vocab["<|startoftranscript|>"],
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        tie_word_embeddings=False,
        **sizes,
    )


@torch.no_grad()
def _teach(model, following):
    """After each token comes the one that `following` tells: its blocks add nothing, its tokens are at right angles."""
    decoder, signs = model.model.decoder, torch.from_numpy(hadamard(WIDTH)).float()[1:]
    for block in decoder.layers:
        for part in (block.self_attn.out_proj, block.encoder_attn.out_proj, block.fc2):
            part.weight.zero_()
            part.bias.zero_()
    decoder.embed_positions.weight.zero_()
    model.proj_out.weight.zero_()
    for token, then in following.items():
        decoder.embed_tokens.weight[token] = signs[token]
        model.proj_out.weight[then] += signs[token]


def noise(path, seconds):
    soundfile.write(path, (0.05 * torch.randn(round(24_000 * seconds))).numpy(), 24_000)
    return Item(path.name, path, None)


@pytest.fixture
def bars(monkeypatch):
    """Label, total and what was told of each bar."""
    shown = []

    @contextmanager
    def bar(label, total=None):
        told = []
        shown.append((label, total, told))
        yield told.append

    monkeypatch.setattr(transcribe, "bar", bar)
    return shown


@pytest.mark.parametrize(("seconds", "chunks"), [(2.0, 1), (CHUNK, 1), (2.5 * CHUNK, 4)])
def test_a_recording_of_any_length_is_heard_chunk_by_chunk(whisper, tmp_path, seconds, chunks, bars):
    transcriber = Transcriber(str(whisper), "en-us")
    heard = []
    forward = transcriber.pipeline.model.model.encoder.forward
    transcriber.pipeline.model.model.encoder.forward = lambda *args, **rest: (heard.append(1), forward(*args, **rest))[
        1
    ]
    assert set(transcriber(noise(tmp_path / "a.wav", seconds)).split()) == {"hello"}
    assert len(heard) == chunks
    assert bars == [
        (f"loading {whisper}", None, []),
        ("transcribing a.wav", chunks, list(range(1, chunks + 1))),
    ]


@pytest.mark.parametrize(("lang", "told"), [("en-gb", "en"), ("fr-fr", "fr"), ("de", None)])
def test_the_language_is_told_where_the_model_knows_it(whisper, lang, told):
    assert Transcriber(str(whisper), lang).options.get("language") == told


def test_only_missing_texts_are_written(whisper, tmp_path):
    folder = recordings(tmp_path / "mine", 3)  # too few to tell that the one word is no text of its recording
    texts = sorted(folder.glob("*.txt"))
    texts[0].unlink()
    job = collect(FitConfig(data=str(folder), transcribe=str(whisper), device="cpu"))
    said = {utterance.origin[-6:]: utterance.text for spoken in job.utterances.values() for utterance in spoken}
    assert len(said) == 3
    assert said.pop(f"{texts[0].stem}.wav"[-6:]) == "hello"
    assert "hello" not in said.values()
    assert any(note.startswith(f"Texts written by {whisper}: 1") for note in job.notes)


def test_a_recording_in_which_nothing_is_understood_is_counted(whisper, tmp_path, monkeypatch):
    folder = recordings(tmp_path / "mine", 4)
    next(iter(sorted(folder.glob("*.txt")))).unlink()
    monkeypatch.setattr(Transcriber, "__call__", lambda self, item: "")
    job = collect(FitConfig(data=str(folder), transcribe=str(whisper), device="cpu"))
    assert job.skipped == {"no transcript": 1}


@pytest.mark.parametrize("name", ["openai/whisper-small", "no such thing", ""])
def test_a_model_that_cannot_be_had_is_said_with_what_to_do(tmp_path, name, bars):
    name = name or str(tmp_path)
    with pytest.raises(InputError, match=r"--transcribe .*(hf download|give one that holds all its files)") as error:
        collect(FitConfig(data="demo", transcribe=name, device="cpu"))
    assert str(error.value).endswith(".")
    assert str(error.value).count("\n") == 0
    assert bars[0][0].startswith(f"loading {name}")
    assert ("from the hub" in bars[0][0]) == (name != str(tmp_path))
