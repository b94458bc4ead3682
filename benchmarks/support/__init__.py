"""What several benchmarks share: models with random weights, clips, engines to compare with."""
