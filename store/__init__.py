"""What gateway and worker share: settings, job rows, models, blobs and the broker. Knows nothing of HTTP or torch."""
