"""Real footage for a first run, built on demand and served on loopback; none of it is stored in the repository."""
