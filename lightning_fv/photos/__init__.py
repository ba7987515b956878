"""Photos: decoding them, folders of them, and what a network's units respond to them."""
