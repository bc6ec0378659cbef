"""The HTTP interface: one application, and the server that it runs in."""
