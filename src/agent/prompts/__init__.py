"""The workflow as a template: what the LLM is told, filled from the company's context."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from agent.call.context import CompanyContext

FIELDS = frozenset({"company_name", "trade_label", "trade_type", "callout_fee", "area", "caller_id", "repeat_caller"})


class PromptError(ValueError):
    """The prompt's template is wrong; the text says where."""


def load_template(file: Path | None = None) -> str:
    """The template: `file`, or the packaged one. Raises `PromptError`."""
    try:
        text = (
            file.read_text("utf-8")
            if file is not None
            else resources.files("agent.prompts").joinpath("home_services.md").read_text("utf-8")
        )
    except OSError as error:
        raise PromptError(f"cannot read the prompt {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"the prompt {file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    unknown = set(re.findall(r"\{(\w+)\}", text)) - FIELDS
    if unknown:
        raise PromptError(
            f"the prompt {file or 'home_services.md'} has the unknown placeholders "
            f"{', '.join(sorted(unknown))}; there are {', '.join(sorted(FIELDS))}"
        )
    return text


def fill(template: str, company: CompanyContext) -> str:
    """The system prompt of one call. Values are of the company's own making, and one line each."""
    values = {
        "company_name": company.company_name,
        "trade_label": company.trade_label,
        "trade_type": company.trade_type,
        "callout_fee": company.callout_fee or "quoted by the company",
        "area": company.area or "not stated",
        "caller_id": "withheld" if company.withheld else "known",
        "repeat_caller": "yes" if company.repeat_caller else "no",
    }
    return re.sub(r"\{(\w+)\}", lambda match: " ".join(values[match[1]].split()), template)
