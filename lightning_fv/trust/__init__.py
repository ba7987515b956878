"""How far a picture can be trusted: evidence from photos, from other networks and from the picture's path, and a verdict."""
