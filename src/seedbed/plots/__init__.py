"""Plots: of one run, of several, of what a model looked at and of what a feature pipeline learned."""
