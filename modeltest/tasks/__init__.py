"""What is asked, where the data is, and what the right answer is."""
