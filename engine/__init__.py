"""All that the program knows about images, APIs, tasks and files; usable from a plain script."""
