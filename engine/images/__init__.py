"""Picture files: found, kept, shown small."""
