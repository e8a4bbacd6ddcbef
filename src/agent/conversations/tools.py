"""Which tools a conversation has: the agent's own, functions of its `tools.py`, and the `url_tools` of its file."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.tools.call_control import STANDARD_TOOLS
from agent.tools.functions import is_marked, tool_of
from agent.tools.registry import Tool, ToolRegistry
from agent.tools.urls import UrlTool, url_tool


def registry_of(
    directory: Path,
    names: Sequence[str],
    url_tools: Mapping[str, UrlTool],
    environment: Mapping[str, str],
    mistakes: list[str],
) -> ToolRegistry:
    """The tools of those names, in that order: functions of `tools.py`, `url_tools`, or the agent's own.

    What is wrong is added to `mistakes`.
    """
    toml = directory / "conversation.toml"
    code = directory / "tools.py"
    functions = _functions(code, mistakes) if code.is_file() else {}
    marked = {name for name, function in functions.items() if is_marked(function)}
    chosen: list[Tool] = []
    for name in names:
        try:
            if name in functions:
                chosen.append(tool_of(functions[name]))
            elif name in url_tools:
                chosen.append(url_tool(name, url_tools[name], environment))
            elif name in STANDARD_TOOLS:
                chosen.append(STANDARD_TOOLS[name])
            else:
                known = sorted({*marked, *url_tools, *STANDARD_TOOLS})
                near = difflib.get_close_matches(name, [*known, *functions], 1, 0.7)
                meant = f"is {near[0]} meant? There are" if near else "there are"
                mistakes.append(f"{toml}: tools has {name!r}; {meant} {', '.join(known)}")
        except ValueError as error:
            where = code if name in functions else f"{toml}: url_tools.{name}"
            mistakes.append(f"{where}: {error}")
    mistakes += [
        f"{toml}: the tool {name} is there, and tools does not name it: add it, or take it away"
        for name in sorted({*marked, *url_tools} - set(names))
    ]
    try:
        return ToolRegistry(chosen)
    except ValueError as error:
        mistakes.append(f"{toml}: tools: {error}")
        return ToolRegistry([])


def _functions(file: Path, mistakes: list[str]) -> Mapping[str, Callable[..., Any]]:
    """The functions that `tools.py` defines, by name. The file runs as part of the agent: it is the user's own code."""
    if file.stat().st_mode & 0o002:
        mistakes.append(f"{file} may be changed by anybody and runs as part of the agent: run chmod o-w {file}")
        return {}
    module_name = f"agent_conversation_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickling look a class's module up here
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        trace = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in trace if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        mistakes.append(f"{file}, line {line}: {type(error).__name__}: {error}")
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module_name and not name.startswith("_")
    }
