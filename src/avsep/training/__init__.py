"""Training: recipes, data prepared once, mixtures, the Lightning task, runs that can be resumed."""
