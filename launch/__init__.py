"""`make run`: gateway, workers and a Redis under one supervisor. Not a room of the house: its front door."""
