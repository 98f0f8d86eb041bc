"""How good and how fast: distances between sets of images, likelihood, speed, the table and the picture."""
