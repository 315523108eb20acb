"""Trained weights at work: images in, keypoints out."""
