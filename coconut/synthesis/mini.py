"""`mini`: a small Kokoro of stock modules, embedded with its voices.

Stock `kokoro.KModel` takes every width from its config but the decoder's, which its `Decoder.__init__`
hard-codes. `MiniDecoder` has an `__init__` with narrower layers and inherits everything else, so the
stock forward pass, and whatever is written against it, runs unchanged.

`experiments/mini/pretrain.py` trains the weights on speech synthesised by espeak-ng and writes the assets:
`mini.safetensors` (float16), `voices.safetensors` (`base` [V, 256], `slope` [V, 256], `profile` [510];
voice v is `base[v] + profile[:, None] * slope[v]`), `voices.json` (the cards) and
`prior.safetensors` (`coconut.prior`).
"""

from __future__ import annotations

import copy
import importlib.resources
import io
import json
import threading
import warnings
from typing import Any

import kokoro.model
import safetensors.torch
import torch
from kokoro.istftnet import AdainResBlk1d, Decoder, Generator
from torch import Tensor, nn
from torch.nn.utils import weight_norm

from coconut.config import EMBEDDED, InputError
from coconut.prior import Prior

REPO_ID = EMBEDDED
PARTS = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")

# The symbols of hexgrad/Kokoro-82M, config.json: first id of a run -> the symbols of the run.
_SYMBOLS = {
    1: ";:,.!?",
    9: '—…"()“” \u0303ʣʥʦʨᵝꭧAI',
    31: "O",
    33: "Q",
    35: "ST",
    39: "W",
    41: "Yᵊabcdef",
    50: "hijklmnopqrstuvwxyzɑɐɒæ",
    75: "βɔɕç",
    80: "ɖðʤə",
    85: "ɚɛɜ",
    90: "ɟ",
    92: "ɡ",
    99: "ɥ",
    101: "ɨɪʝ",
    110: "ɯɰŋɳɲɴø",
    118: "ɸθœ",
    123: "ɹ",
    125: "ɾɻ",
    128: "ʁɽʂʃʈʧ",
    135: "ʊʋ",
    138: "ʌɣɤ",
    142: "χʎ",
    147: "ʒʔ",
    156: "ˈˌː",
    162: "ʰ",
    164: "ʲ",
    169: "↓",
    171: "→↗↘",
    177: "ᵻ",
}

_CONFIG: dict[str, Any] = {
    "hidden_dim": 128,
    "style_dim": 128,
    "n_layer": 2,
    "n_mels": 80,
    "n_token": 178,
    "max_dur": 50,
    "text_encoder_kernel_size": 5,
    "dropout": 0.0,
    "istftnet": {
        "upsample_rates": [5, 4],
        "upsample_kernel_sizes": [11, 8],
        "gen_istft_n_fft": 60,
        "gen_istft_hop_size": 15,
        "upsample_initial_channel": 128,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    },
    "plbert": {
        "embedding_size": 64,
        "hidden_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "intermediate_size": 256,
        "max_position_embeddings": 512,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    # Not read by the stock KModel: widths of MiniDecoder.
    "decoder": {"width": 192, "asr_res": 32, "blocks": 3},
}

_swap = threading.Lock()


def config() -> dict[str, Any]:
    """The stock KModel config of mini, with the vocabulary of Kokoro-82M (114 symbols, ids below 178).

    The extra key `decoder` holds the widths that the stock decoder hard-codes.
    """
    made = copy.deepcopy(_CONFIG)
    made["vocab"] = {s: first + i for first, run in _SYMBOLS.items() for i, s in enumerate(run)}
    return made


class MiniDecoder(Decoder):
    """The stock decoder with narrower layers: `width` channels, `blocks` blocks, `asr_res` text channels."""

    def __init__(
        self,
        dim_in: int,
        style_dim: int,
        dim_out: int,
        disable_complex: bool = False,
        *,
        width: int,
        asr_res: int,
        blocks: int,
        **istftnet: Any,
    ) -> None:
        nn.Module.__init__(self)
        out = istftnet["upsample_initial_channel"]
        inner = width + 2 + asr_res
        self.encode = AdainResBlk1d(dim_in + 2, width, style_dim)
        self.decode = nn.ModuleList(AdainResBlk1d(inner, width, style_dim) for _ in range(blocks - 1))
        self.decode.append(AdainResBlk1d(inner, out, style_dim, upsample=True))
        self.F0_conv = weight_norm(nn.Conv1d(1, 1, kernel_size=3, stride=2, padding=1))
        self.N_conv = weight_norm(nn.Conv1d(1, 1, kernel_size=3, stride=2, padding=1))
        self.asr_res = nn.Sequential(weight_norm(nn.Conv1d(dim_in, asr_res, kernel_size=1)))
        self.generator = Generator(style_dim, disable_complex=disable_complex, **istftnet)


def architecture(config: dict[str, Any] | None = None, disable_complex: bool = False) -> kokoro.model.KModel:
    """A stock KModel with random weights (always the same), built without a download.

    config: a KModel config, default `mini.config()`; where it has no `decoder` key, the decoder is the stock
    one, so the real Kokoro architecture can be had as well. The global random state is left as it was.
    """
    made = globals()["config"]() if config is None else config
    widths = made.get("decoder")
    empty = io.BytesIO()
    torch.save({}, empty)  # the loader loops over nothing and keeps the random initialisation
    empty.seek(0)

    def decoder(**options: Any) -> Decoder:
        return MiniDecoder(**options, **widths) if widths else Decoder(**options)

    with _swap, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's weight_norm is deprecated
        torch.manual_seed(0)
        stock = kokoro.model.Decoder
        kokoro.model.Decoder = decoder
        try:
            return kokoro.model.KModel(REPO_ID, made, model=empty, disable_complex=disable_complex)
        finally:
            kokoro.model.Decoder = stock


def build_model(disable_complex: bool = False) -> kokoro.model.KModel:
    """The trained model: evaluation mode, float32, no gradients. Raises InputError where assets are missing."""
    model = architecture(disable_complex=disable_complex)
    weights = safetensors.torch.load(_read("mini.safetensors"))
    for part in PARTS:
        own = {k.removeprefix(part + "."): v.float() for k, v in weights.items() if k.startswith(part + ".")}
        _, unexpected = getattr(model, part).load_state_dict(own, strict=not disable_complex)
        if unexpected:
            raise InputError(f"mini.safetensors: unknown weight {part}.{unexpected[0]}; {_REMEDY}")
    return model.eval().requires_grad_(False)


def voices() -> dict[str, Tensor]:
    """The stock voices, sorted by name: {name: voicepack [510, 1, 256] float32}."""
    store = {k: v.float() for k, v in safetensors.torch.load(_read("voices.safetensors")).items()}
    packs = store["base"][:, None, :] + store["profile"][:, None] * store["slope"][:, None, :]
    names = [card["name"] for card in cards()]
    return dict(sorted((name, pack[:, None, :].contiguous()) for name, pack in zip(names, packs, strict=True)))


def prior() -> Prior:
    """Where the stock voices lie in style space."""
    return Prior.from_tensors(safetensors.torch.load(_read("prior.safetensors")))


def cards() -> list[dict[str, Any]]:
    """One dict per stock voice: name, sex, accent, f0 (median, Hz) and rate (phonemes per second), as measured."""
    found: list[dict[str, Any]] = json.loads(_read("voices.json"))["voices"]
    return found


_REMEDY = "run `python experiments/mini/pretrain.py` to make it."


def _read(name: str) -> bytes:
    try:
        return (importlib.resources.files("coconut.synthesis") / "assets" / name).read_bytes()
    except FileNotFoundError:
        raise InputError(f"The embedded model has no {name}; {_REMEDY}") from None
