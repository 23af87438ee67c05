"""Batch APIs of providers: what is sent to each, and what its answers say. Pure: nothing here speaks to anybody."""
