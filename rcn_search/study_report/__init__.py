"""Everything that shows a study and changes nothing."""
