"""Readers of files under damaged files: what is read (`readers`), how it is damaged (`mutations`, `trees`),
and what an answer must be like (`verdict`)."""
