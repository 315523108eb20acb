"""Predict the faces of videos: faces followed from frame to frame, smoothed points, and how much they jitter."""
