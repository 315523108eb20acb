"""A page of this machine on which points appear on a dropped photograph, or before the camera."""
