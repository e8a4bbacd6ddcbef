"""What the agent says and does, as files: each directory here is a conversation, and a user's own are no different.

`conversation.toml` holds the language, the persona, the phrases that the agent says by itself, stock answers and which
tools there are; `prompt.md` is the workflow; `tools.py`, where it is there, has tools in Python.
"""

from agent.conversations.catalogue import Conversations
from agent.conversations.conversation import Conversation, ConversationError, Phrases
from agent.conversations.files import load_conversation

__all__ = ["Conversation", "ConversationError", "Conversations", "Phrases", "load_conversation"]
