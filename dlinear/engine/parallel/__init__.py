"""Who computes the chunks: threads of this process, or several processes."""
