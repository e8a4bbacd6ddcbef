"""Moonshine base-en: a recogniser of 61 M parameters (MIT), by onnxruntime on one thread.

One core hears 18 times as fast as people speak; on 8 kHz telephone speech of people it makes 6 % word errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines import audio, words
from agent.speech_engines.moonshine_weights import ENCODER, FIRST, STEP, package_dir, weights
from agent.speech_engines.types import EngineMissing, Samples, Word

_BEGIN, _END = 1, 2
_NOISE = 0.9
"""Probability of the end as the first token above which there is no speech. Below it the end is not taken there:
Moonshine begins spelled codes and digits with it."""
_TOKENS_A_SECOND = 6.5
_LEAST_SAMPLES = 1600


class MoonshineRecogniser:
    """Recognises English speech at 16 kHz. May be used from several threads."""

    name = "moonshine"
    sample_rate = 16000

    def __init__(self) -> None:
        """Load the weights (1 to 2 s; the first time on a machine 20 s). Raises `EngineMissing`."""
        try:
            import onnxruntime
        except ImportError:
            raise EngineMissing("moonshine", "onnxruntime") from None
        directory = weights()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def session(name: str) -> Any:
            return onnxruntime.InferenceSession(directory / name, options, providers=["CPUExecutionProvider"])

        self._encoder, self._first, self._step = session(ENCODER), session(FIRST), session(STEP)
        self._pieces = _read_tokens((package_dir() / "tokenizer.bin").read_bytes())
        self._first_outputs = [_state_name(output.name) for output in self._first.get_outputs()]
        self._step_inputs = {value.name for value in self._step.get_inputs()}
        self._step_outputs = [
            output.name for output in self._step.get_outputs() if "decoder" in output.name or "logits" in output.name
        ]

    def transcribe(self, samples: Samples) -> tuple[Word, ...]:
        """The words of one stretch of speech (16 kHz, up to about 20 s); none for noise."""
        sound = audio.to_float(samples)
        if len(sound) < _LEAST_SAMPLES:
            sound = np.pad(sound, (0, _LEAST_SAMPLES - len(sound)))
        tokens = self._decode(sound)
        texts, confidence = self._join(tokens)
        return words.place(texts, samples, self.sample_rate, confidence)

    def _decode(self, sound: NDArray[np.float32]) -> list[tuple[int, float]]:
        """Tokens with their probabilities, the likeliest at each step."""
        hidden = self._encoder.run(None, {"input_values": sound[None]})[0]
        first = self._first.run(None, {"input_ids": np.array([[_BEGIN]], np.int64), "encoder_hidden_states": hidden})
        state = dict(zip(self._first_outputs, first, strict=True))
        scores = state["logits"][0, -1]
        if _softmax(scores)[_END] > _NOISE:
            return []
        scores[_END] = -np.inf
        feed = {name: value for name, value in state.items() if name in self._step_inputs}
        if "encoder_hidden_states" in self._step_inputs:
            feed["encoder_hidden_states"] = hidden
        tokens: list[tuple[int, float]] = []
        for _ in range(max(4, int(len(sound) / self.sample_rate * _TOKENS_A_SECOND) + 2)):
            token = int(scores.argmax())
            if token == _END:
                break
            tokens.append((token, float(_softmax(scores)[token])))
            feed["input_ids"] = np.array([[token]], np.int64)
            for name, value in zip(self._step_outputs, self._step.run(self._step_outputs, feed), strict=True):
                if "logits" in name:
                    scores = value[0, -1]
                else:
                    feed[_state_name(name)] = value
        return tokens

    def _join(self, tokens: list[tuple[int, float]]) -> tuple[list[str], list[float]]:
        """Words, and each one's mean token probability. A piece that begins with a space begins a word."""
        pieces: list[tuple[bytes, list[float]]] = []
        for token, probability in tokens:
            piece = self._pieces[token].replace("▁".encode(), b" ")
            if piece.startswith(b" ") or not pieces:
                pieces.append((piece, [probability]))
            else:
                pieces[-1] = (pieces[-1][0] + piece, [*pieces[-1][1], probability])
        texts, confidence = [], []
        for piece, probabilities in pieces:
            for text in piece.decode("utf-8", "replace").split():
                texts.append(text)
                confidence.append(float(np.mean(probabilities)))
        return texts, confidence


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def _state_name(output: str) -> str:
    """The input of the next step that an output of the decoder is."""
    return output.removeprefix("out.").replace("present", "past_key_values")


def _read_tokens(data: bytes) -> list[bytes]:
    """The tokeniser's pieces: each is its length (one byte, or two with the top bit set), then its bytes."""
    pieces: list[bytes] = []
    position = 0
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:
            length = data[position] * 128 + length - 128
            position += 1
        pieces.append(data[position : position + length])
        position += length
    return pieces
