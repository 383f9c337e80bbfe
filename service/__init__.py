"""The HTTP gateway: it checks a request, records it as a job, and answers. It knows nothing of torch or pixels."""
