"""Conformance cases: subclass one, name what you built, and pytest runs it through."""
