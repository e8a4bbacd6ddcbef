"""What to do about a vendor that refuses."""

from __future__ import annotations

from agent.providers.base import ProviderError

CONSOLES = {
    "DEEPGRAM": "console.deepgram.com",
    "GROQ": "console.groq.com",
    "CARTESIA": "play.cartesia.ai",
    "LLM_FALLBACK": "who serves LLM_FALLBACK_URL",
}


def advice_on(refusal: ProviderError, prefix: str) -> str:
    """How to mend it; the vendor's settings begin with `prefix`."""
    where = CONSOLES[prefix]
    match refusal.status:
        case 401:
            return f"{prefix}_API_KEY is wrong: take the key from {where}"
        case 402:
            return f"the account is out of credit: see {where}"
        case 403:
            return f"the key may not do this: see its rights, and the models of your plan, at {where}"
        case 404:
            return f"see {prefix}_MODEL and {prefix}_URL: the vendor does not know what they name"
        case 400 | 422:
            return f"the vendor refuses how it is asked: see {prefix}_MODEL, and what the text says"
        case 429:
            return f"your plan's limit is reached: see {where}, end other programs with this key, or take a larger plan"
        case status if status >= 500 or status in (1011, 1013):
            return "the vendor is in trouble: see its status page, and check again"
    return f"see {prefix}_URL, this host's name server, and whether a firewall lets it out on port 443"
