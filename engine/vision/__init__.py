"""Asks a vision model about pictures: judges pairs, writes captions and prompts, compares, and what is made of that."""
