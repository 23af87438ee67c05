"""The window: pywebview, its JS door, native dialogs, toolkits."""
