"""Whose calls, bookings and figures somebody may see: every question of the console carries it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute


@dataclass(frozen=True, slots=True)
class Scope:
    """Every company and what belongs to none, or certain companies and nothing else."""

    company_ids: frozenset[int] | None
    """None: everything."""

    @classmethod
    def all(cls) -> Self:
        """Everything, calls on numbers of no known company included."""
        return cls(None)

    @classmethod
    def of(cls, company_ids: Iterable[int]) -> Self:
        """These companies alone; of none, nothing is seen."""
        return cls(frozenset(company_ids))

    def allows(self, company_id: int | None) -> bool:
        """Whether something of this company may be seen; None stands for no known company."""
        return self.company_ids is None or company_id in self.company_ids

    def narrowed(self, company_id: int | None) -> Scope:
        """What is left of it when only this company is asked for; None asks for no company in particular."""
        if company_id is None:
            return self
        return Scope.of({company_id} if self.allows(company_id) else ())

    def where(self, column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[bool]:
        """The SQL condition on a column that holds a company's ID."""
        if self.company_ids is None:
            return true()
        if len(self.company_ids) == 1:
            return column == next(iter(self.company_ids))
        return column.in_(sorted(self.company_ids))
