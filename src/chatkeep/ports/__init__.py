"""Protocols only: what Chatkeep needs from the outside, and the contract each side keeps."""
