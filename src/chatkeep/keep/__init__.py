"""The library: keep conversations from Python, with or without `async`."""

from chatkeep.keep.blocking import BlockingChatkeep, BlockingChats
from chatkeep.keep.chatkeep import Chatkeep
from chatkeep.keep.chats import DEFAULT_APP, DEFAULT_TENANT, Chats

__all__ = ["DEFAULT_APP", "DEFAULT_TENANT", "BlockingChatkeep", "BlockingChats", "Chatkeep", "Chats"]
