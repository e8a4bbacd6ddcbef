"""The three emulated vendors together, each on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from aiohttp import web

from agent.sandbox import brain, rehearsed
from agent.sandbox.cartesia import CartesiaEmulator
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig, SandboxConfig
from agent.sandbox.control import Control
from agent.sandbox.deepgram import DeepgramEmulator
from agent.sandbox.going_on import Brain
from agent.sandbox.groq import GroqEmulator
from agent.sandbox.latency import Dice
from agent.speech_engines import Recogniser, RecogniserName, Voice, VoiceName, load_recogniser, load_voice


class Sandbox:
    """Starts the emulators on entry and stops them on exit.

    `async with Sandbox(config) as sandbox:` gives `deepgram_url`, `groq_url` and `cartesia_url`, as the settings of
    the agent want them, and `deepgram`, `groq`, `cartesia`: each one's `Control` with its settings, faults, counters.
    Entering raises `EngineMissing` when a speech engine is not installed, `OSError` when a port is taken or the
    certificate cannot be read.
    """

    def __init__(
        self,
        config: SandboxConfig | None = None,
        *,
        recogniser: Recogniser | None = None,
        voice: Voice | None = None,
        think: Brain | None = None,
    ) -> None:
        """`recogniser`, `voice` and `think`, which answers for the LLM, replace what `config` names."""
        self.config = config or SandboxConfig(engines="tones")
        dice = Dice(self.config.seed)
        self.deepgram: Control[DeepgramConfig] = Control(self.config.deepgram, dice)
        self.groq: Control[GroqConfig] = Control(self.config.groq, dice)
        self.cartesia: Control[CartesiaConfig] = Control(self.config.cartesia, dice)
        self.deepgram_url = self.groq_url = self.cartesia_url = ""
        self._recogniser = recogniser
        self._voice = voice
        self._think = think
        self._runners: list[web.AppRunner] = []
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="speech")

    async def __aenter__(self) -> Sandbox:
        loop = asyncio.get_running_loop()
        engines = self.config.engines
        ears: RecogniserName = "moonshine" if engines == "real" else engines
        mouth: VoiceName = self.config.voice if engines == "real" else engines
        try:
            if self._recogniser is None:
                self._recogniser = await loop.run_in_executor(self._pool, load_recogniser, ears, rehearsed.LINES)
            if self._voice is None:
                self._voice = await loop.run_in_executor(self._pool, load_voice, mouth)
                # An engine's first words take a second more; a vendor's do not.
                for rate in (8000, 16000):
                    await loop.run_in_executor(self._pool, self._voice.speak, "Hello, good morning to you.", rate)
            deepgram = DeepgramEmulator(self.deepgram, self._recogniser, self._pool)
            think = self._think or (rehearsed.answer if engines == "script" else brain.answer)
            groq = GroqEmulator(self.groq, think)
            cartesia = CartesiaEmulator(self.cartesia, self._voice, self._pool)
            tls = self._tls()
            secure = "" if tls is None else "s"
            self.deepgram_url = f"ws{secure}://{await self._serve(deepgram.app, self.config.deepgram.port, tls)}"
            self.groq_url = f"http{secure}://{await self._serve(groq.app, self.config.groq.port, tls)}/openai/v1"
            self.cartesia_url = f"ws{secure}://{await self._serve(cartesia.app, self.config.cartesia.port, tls)}"
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    def _tls(self) -> ssl.SSLContext | None:
        if self.config.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.config.certificate, self.config.certificate_key)
        return context

    async def _serve(self, app: web.Application, port: int, tls: ssl.SSLContext | None) -> str:
        """Serve on a port; the address as host:port."""
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        family = socket.AF_INET6 if ":" in self.config.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self.config.host, port))
        except OSError:
            listening.close()
            raise
        await web.SockSite(runner, listening, ssl_context=tls).start()
        host, bound = listening.getsockname()[:2]
        return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
