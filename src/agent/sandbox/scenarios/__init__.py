r"""Scripted callers, each with what must come of its call: a set for each conversation, and a runner that judges them.

A caller is a text file `NAME.caller` of three sections. It begins with a comment that says who rings.

```
# Changes the postcode after it was read back.
[call]
caller id: withheld
[says]
say: Hello, my kitchen tap is leaking.
when "postcode": say: It's SW4 <900ms> 7DQ.
[expect]
says: thirty minutes to an hour
calls create_booking: postcode = SW4 7DQ; problem_description ~ tap; phone absent
bookings: 1
outcome: booked
never: sorry
```

`[call]` says how it is made (each line may be left out): `company: NAME`, `caller id: NUMBER` or `withheld`,
`called before: yes`, `booking api: down`, `booking api: refuses FIELD` (once), `patience: 20s`.

`[says]` is a script of the simulated caller: `agent.sandbox.caller.script`.

`[expect]` says what must come of it. Patterns are regular expressions, in either case.

- Steps, in their order: `says: PATTERN`, something that the caller heard; `calls TOOL: FIELD = VALUE; FIELD ~ PATTERN;
  FIELD absent`, a tool that ran without an error (values are compared without case, spaces and punctuation);
  `tries TOOL: ...`, one that was refused.
- `never: PATTERN`: the agent says no such thing. `never calls: TOOL`.
- `asks WHAT: PATTERN`: no reply asks two of these at once.
- `never repeats: FIELD`: no reply has a word of what was given to a tool in that field.
- `never together: FIELD FIELD ...`: no reply has two of what was given in these.
- `turns: 5 to 9` (things that the caller said and the agent answered), `bookings: 1`, `interruptions: 1 or more`,
  `mark NAME: at most 2` (of the call's record: hold, resume, barge_in, flush, dtmf).
- `outcome: booked`, `verdict: hangup`, `target: 2001`, `ended by: agent`.
- `booked: FIELD = VALUE; ...`: how the booking stands in the back office.
- `history: PATTERN`, `history cut: PATTERN`, `history never: PATTERN`: some message of what the LLM was last told, one
  that ends where the caller interrupted, none.
- `allow: NAME`: a rule for every call of the conversation does not hold here. Those rules stand in the conversation's
  `every_call.expect`, and one that may be left out has its name in brackets: `never (phone): ...`.
"""
