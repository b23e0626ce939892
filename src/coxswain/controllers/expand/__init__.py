"""The expander: says who is to grow a claim's volume; nothing is grown here."""
