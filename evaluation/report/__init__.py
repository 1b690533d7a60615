"""The report: one HTML file with everything in it, in English or Japanese. Computes no figures of its own."""
