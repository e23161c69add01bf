"""Exporting a dataset as files: clips with their texts, or the tables as plain folders."""
