"""Beam pipelines over the domain: the driver of a run, the stages, their runners, and their workers."""
