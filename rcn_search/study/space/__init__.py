"""What a study file declares: parameters, their ranges, and the options of the search."""
