"""What words tell: how finished a turn sounds, what was asked, how a code is spelled and said, where clauses end."""
