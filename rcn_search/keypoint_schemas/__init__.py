"""Keypoint schemas as files: the built-in ones, what a schema is, and how one is read and written."""
