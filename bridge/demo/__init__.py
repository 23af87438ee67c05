"""The built-in demo endpoint: an image-edit API over real HTTP and SSE on a loopback port, without an account."""
