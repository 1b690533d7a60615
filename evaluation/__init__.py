"""Evidence: datasets, the sweep over codecs and qualities, KPIs, statistics, bench and report."""
