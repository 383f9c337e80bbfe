"""What ties requests to the queue: ringing for workers, and waiting for a job's end."""
