"""The compiled core and its specification, under the same tests."""

from types import ModuleType

import pytest

from fastaudio import _core, _reference


@pytest.fixture(params=[_core, _reference], ids=["compiled", "reference"])
def core(request: pytest.FixtureRequest) -> ModuleType:
    """A module with the units of the media core."""
    module: ModuleType = request.param
    return module
