"""Two example companies: a plumber in London and an electrician in Manchester.

Their numbers are of the ranges that Ofcom keeps for drama (020 7946 0000 to 0999, 0161 496 0000 to 0999:
https://www.ofcom.org.uk/phones-and-broadband/phone-numbers/numbers-for-drama), so they can never ring anybody.
"""

from __future__ import annotations

from agent.office.store import NewCompany, OfficeStore, add_companies

LONDON_PLUMBER = NewCompany(
    name="Thames Plumbing",
    trade_type="plumbing",
    trade_label="plumber",
    callout_fee="£65",
    numbers=("+442079460123",),
    area="London",
    keyterms=("boiler", "stopcock", "radiator", "leaking"),
    transfer_targets={"office": "2001"},
)
MANCHESTER_ELECTRICIAN = NewCompany(
    name="Northern Spark Electrical",
    trade_type="electrical",
    trade_label="electrician",
    callout_fee="£55",
    numbers=("+441614960456",),
    area="Manchester",
    keyterms=("fuse box", "consumer unit", "socket", "tripping"),
    transfer_targets={"office": "2002"},
)
EXAMPLE_COMPANIES = (LONDON_PLUMBER, MANCHESTER_ELECTRICIAN)


async def seed_examples(store: OfficeStore) -> None:
    """Add the example companies, or put them back as they were. Doing it again changes nothing."""
    await add_companies(store, EXAMPLE_COMPANIES)
