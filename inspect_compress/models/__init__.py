"""Models over the years: the registry of those that a plant added to the shipped ones. It trains nothing."""
