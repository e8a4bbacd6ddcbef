"""What words tell: whether a turn sounds finished, what was asked, how a code is spelled and said, where clauses end."""
