"""Benchmarks of cost and quality: each module measures and prints one table."""
