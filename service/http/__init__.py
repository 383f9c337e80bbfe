"""What is answered: problems, downloads, event streams, the views of jobs and reports, the OpenAPI document."""
