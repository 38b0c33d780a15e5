"""The pages that administrators see."""
