"""Chatkeep in the shape that other frameworks expect of a store of conversations."""
