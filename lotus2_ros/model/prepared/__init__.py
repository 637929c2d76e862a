"""Prepared folders: a model made ready once, so that loading it is only reading."""
