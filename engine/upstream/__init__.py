"""Speaks with image-edit APIs: requests out, events in, pictures fetched."""
