"""Vocabularies of models."""
