"""Metric scale of the predicted disparity: its sources, their fit, its course over time."""
