"""What keeps a search from running here or on a cluster, found before it starts. Looks only; changes nothing."""
