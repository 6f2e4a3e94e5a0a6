"""What a build says of its corpus: a page, a card, and what the page plays."""
