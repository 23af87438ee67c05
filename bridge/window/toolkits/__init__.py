"""The window toolkits: which of them works here, and what pywebview leaves open on each."""
