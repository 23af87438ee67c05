"""The HTTP door: server, routes, access rules, event stream, OpenAPI."""
