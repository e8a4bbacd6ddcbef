"""The soak: calls that come and go for half an hour or longer, judged at the end by what they left behind."""
