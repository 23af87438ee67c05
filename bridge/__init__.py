"""What the outside may ask of the engine: the operations table and the two doors made from it."""
