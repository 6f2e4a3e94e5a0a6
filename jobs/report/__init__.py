"""What a build says of its corpus: numbers, a page, a card."""
