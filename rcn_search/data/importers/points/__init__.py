"""Import anybody's photographs and points: annotations as label tools write them, described by a keypoint schema."""
