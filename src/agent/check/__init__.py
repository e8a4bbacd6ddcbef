"""`voice-agent check`: everything that an administrator would check by hand, and how to mend what is wrong.

A probe is a function that looks at one subject and gives findings; `probes.PROBES` lists all of them. To add one, write
such a function in a module here and name it there.
"""
