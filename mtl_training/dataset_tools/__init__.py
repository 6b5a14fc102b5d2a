"""Looking at data sets before they train: described, checked, and made into a compact copy."""
