"""Settings: from the environment and an env file, checked, and named when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.ops.settings import Settings, SettingsError, load_settings

KEYS = "DEEPGRAM_API_KEY=dg-secret\nGROQ_API_KEY=gsk-secret\nCARTESIA_API_KEY=sk-secret\n"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def env_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "agent.env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_defaults_are_those_of_a_host_of_its_own() -> None:
    settings = load_settings()
    assert (settings.listen_host, settings.listen_port, settings.fastagi_port) == ("127.0.0.1", 9099, 4573)
    assert settings.allowed_peers == ("127.0.0.0/8", "::1/128")
    assert settings.deepgram_model == "nova-3"


def test_the_rate_is_one_that_the_agent_converses_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().sample_rate == 8000
    monkeypatch.setenv("SAMPLE_RATE", "16000")
    assert load_settings().sample_rate == 16000
    for wrong in ("44100", "16k"):
        monkeypatch.setenv("SAMPLE_RATE", wrong)
        with pytest.raises(SettingsError, match=r"SAMPLE_RATE .* 8000 or 16000"):
            load_settings()


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CALLS", "7")
    settings = load_settings(env_file(tmp_path, f"{KEYS}MAX_CALLS=5\nDEEPGRAM_KEYTERMS=tap, boiler\n"))
    assert settings.max_calls == 7
    assert settings.deepgram_keyterms == ("tap", "boiler")


def test_who_hears_the_caller_when_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().stt_fallbacks == ("auto",)
    monkeypatch.setenv("STT_FALLBACKS", "flux-general-en, nova-2")
    assert load_settings().stt_fallbacks == ("flux-general-en", "nova-2")
    monkeypatch.setenv("STT_FALLBACKS", "flux-general-en,none")
    with pytest.raises(SettingsError, match=r"STT_FALLBACKS .*'none' stands alone"):
        load_settings()
    monkeypatch.setenv("STT_FALLBACKS", "whisper")
    with pytest.raises(SettingsError, match=r"'whisper' is none; write nova-3, flux-general-en or local"):
        load_settings()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("STT_FALLBACKS", "local")
    with pytest.raises(SettingsError, match=r"local needs an extra; run .*pip install .*\[local\]"):
        load_settings()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = env_file(tmp_path, KEYS, mode)
    with pytest.raises(SettingsError, match=rf"mode {mode:04o}\): run chmod 600 {path}"):
        load_settings(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the env file .*nowhere: No such file"):
        load_settings(tmp_path / "nowhere")


def test_missing_keys_are_all_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(groq_api_key="x").require_keys()
    assert str(caught.value).count("is missing") == 2
    assert "DEEPGRAM_API_KEY" in str(caught.value)
    assert "CARTESIA_API_KEY" in str(caught.value)


@pytest.mark.parametrize("model", ["nova-3", "nova-3-medical", "nova-4", "flux-general-multi", "enhanced"])
def test_other_models_are_the_vendors_business(model: str) -> None:
    assert load_settings(deepgram_model=model).deepgram_model == model


def test_a_level_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    assert load_settings().log_level == "warning"
    assert load_settings(listen_host="::1").listen_host == "::1"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LISTEN_HOST", "my-host", "'my-host' is no address; write 127.0.0.1, or 0.0.0.0"),
        ("LISTEN_HOST", "10.0.0.256", "'10.0.0.256' is no address"),
        ("DEEPGRAM_MODEL", "nova3", "'nova3' is no model; is nova-3 meant"),
        ("DEEPGRAM_MODEL", "Nova-3", "is nova-3 meant"),
        ("DEEPGRAM_MODEL", "flux", "is flux-general-en meant"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("LISTEN_PORT", "99999", "less than or equal to 65535"),
        ("DEEPGRAM_URL", "https://x", "must begin with wss://"),
        ("GROQ_URL", "wss://x", "must begin with https://"),
        ("BOOKING_API_URL", "ftp://x", "must begin with https://"),
        ("ALLOWED_PEERS", "10.0.0.0/8,nobody", "'nobody' is no network"),
        ("DEFAULT_TIMEZONE", "London", "write for example Europe/London"),
        ("DEFAULT_REGION", "UK", "write an ISO 3166 code such as GB"),
        ("DEEPGRAM_UTTERANCE_END_MS", "800", "greater than or equal to 1000"),
        ("BARGE_IN_DETECTOR", "ears", "'adaptive', 'silero', 'rms', 'webrtc' or 'rms+webrtc'"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(name)
    assert said in str(caught.value)


def test_a_misspelt_setting_is_not_left_out_in_silence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BARGEIN_MS in .* is no setting; is BARGE_IN_MS meant"):
        load_settings(env_file(tmp_path, f"{KEYS}BARGEIN_MS=200\n"))


def test_what_belongs_to_another_program_is_left_alone(tmp_path: Path) -> None:
    assert load_settings(env_file(tmp_path, f"{KEYS}PATH_TO_SOMETHING=1\n")).max_calls == 100


def test_a_region_may_be_written_small() -> None:
    assert load_settings(default_region="gb").default_region == "GB"


def test_keys_do_not_show(tmp_path: Path) -> None:
    settings = load_settings(env_file(tmp_path, KEYS))
    assert "-secret" not in repr(settings)
    assert settings.groq_api_key.get_secret_value() == "gsk-secret"


def test_flux_has_thresholds_that_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(deepgram_model="flux-general-en")
    assert settings.uses_flux
    assert (settings.flux_eot_threshold, settings.flux_eager_eot_threshold, settings.flux_eot_timeout_ms) == (
        0.7, 0.4, 2500,
    )  # fmt: skip
    assert not load_settings().uses_flux
    for off in ("0", "none", "None"):
        monkeypatch.setenv("FLUX_EAGER_EOT_THRESHOLD", off)
        assert load_settings().flux_eager_eot_threshold == 0
    for wrong in ("0.2", "0.95", "-1", "soon"):
        monkeypatch.setenv("FLUX_EAGER_EOT_THRESHOLD", wrong)
        with pytest.raises(SettingsError, match="FLUX_EAGER_EOT_THRESHOLD"):
            load_settings()
    monkeypatch.setenv("FLUX_EAGER_EOT_THRESHOLD", "0.6")
    monkeypatch.setenv("FLUX_EOT_THRESHOLD", "0.5")
    with pytest.raises(SettingsError, match=r"FLUX_EAGER_EOT_THRESHOLD=0.6 is above FLUX_EOT_THRESHOLD=0.5"):
        load_settings()
    monkeypatch.setenv("FLUX_EOT_THRESHOLD", "0.4")
    with pytest.raises(SettingsError, match="greater than or equal to"):
        load_settings()


def test_a_websocket_client_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"WEBSOCKET_CLIENT.*pip install"):
        load_settings(websocket_client="picows")
    assert load_settings(websocket_client="auto").websocket_client == "auto"
