"""What the front end and a worker say to each other. Both processes import it; standard library only."""
