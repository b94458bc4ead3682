"""What the pages of all reports share: frame, style, scripts, texts in two languages."""
