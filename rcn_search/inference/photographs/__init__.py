"""Predict photographs and folders of them: what is listed, recorded, written and drawn."""
