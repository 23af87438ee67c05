"""One edit job, many of them, and what is known of each."""
