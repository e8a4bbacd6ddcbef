"""The back office: companies, bookings and the two APIs that the agent calls."""
