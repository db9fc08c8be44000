"""The studio: a web page, HTTP services and graphs of nodes, on the library's own models."""
