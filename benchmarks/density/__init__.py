"""How many calls a core carries, how evenly, and what each costs."""
