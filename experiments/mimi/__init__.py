"""Training of the embedded Mimi: speech by mini and espeak-ng, a codec, its codebooks. See `README.md` there."""
