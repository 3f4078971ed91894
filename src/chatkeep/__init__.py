"""Chatkeep keeps the conversations of LLM applications."""

from chatkeep.domain import errors
from chatkeep.domain.messages import (
    Data,
    Feedback,
    File,
    Foreign,
    Message,
    NewMessage,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Unreadable,
    Usage,
    assistant,
    system,
    tool,
    user,
)
from chatkeep.domain.policies import RetentionPolicies, RetentionPolicy
from chatkeep.domain.scope import Scope
from chatkeep.domain.sessions import Session
from chatkeep.engines import register_store
from chatkeep.keep import Chatkeep, Chats

__all__ = [
    "Chatkeep",
    "Chats",
    "Data",
    "Feedback",
    "File",
    "Foreign",
    "Message",
    "NewMessage",
    "Reasoning",
    "RetentionPolicies",
    "RetentionPolicy",
    "Scope",
    "Session",
    "Source",
    "Text",
    "ToolCall",
    "ToolResult",
    "Unreadable",
    "Usage",
    "assistant",
    "errors",
    "register_store",
    "system",
    "tool",
    "user",
]
