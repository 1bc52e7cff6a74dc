"""Audio in and out: files of any format in blocks, resampling, loudness, and how channels are coded."""
