"""Settings files: found, read strictly, validated, frozen."""
