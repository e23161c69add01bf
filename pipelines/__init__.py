"""Beam pipelines over the domain, and the `vidla` command."""
