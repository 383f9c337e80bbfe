"""Arrays as files hold them and as a network sees them: scale, gaps, channels, whole numbers."""
